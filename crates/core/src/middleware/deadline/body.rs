use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};

use super::{At, elapsed};
use crate::{
    BoxError,
    context::RequestContext,
    error::{Protocol, mapping::Elapsed},
};

/// What is left of an answer, in bytes, is not cut off where it is that little and there already: a handler that gives
/// up at the deadline says so after it.
const SMALL: u64 = 64 * 1024;

pin_project! {
    /// A body until its deadline: over gRPC it then ends with trailers that say so, else with [`Elapsed`] as its error.
    pub(super) struct Bounded<R> {
        // Taken when the deadline passes: what produces the body ends there.
        #[pin]
        inner: Option<R>,
        // Boxed: it is large, and only what has to wait needs it.
        sleep: Option<Pin<Box<Sleep>>>,
        deadline: At,
        protocol: Protocol,
    }
}

impl<R> Bounded<R> {
    pub(super) fn new(inner: R, deadline: At, protocol: Protocol) -> Self {
        Self { inner: Some(inner), sleep: None, deadline, protocol }
    }
}

impl<R> Body for Bounded<R>
where
    R: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let deadline = *this.deadline;
        // A body that always has a frame would otherwise never see that its time is over.
        let is_small = || inner.size_hint().exact().is_some_and(|left| left <= SMALL);
        if !deadline.has_passed() || is_small() {
            if let Poll::Ready(frame) = inner.poll_frame(cx) {
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline.at())));
            std::task::ready!(sleep.as_mut().poll(cx));
        } else if inner.is_end_stream() {
            return Poll::Ready(None);
        }
        this.inner.set(None);
        Poll::Ready(Some(cut(*this.protocol)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// What ends the body. In gRPC-Web trailers are part of the body's bytes, which may be amid a message: there it is
/// the error, which resets the stream.
fn cut(protocol: Protocol) -> Result<Frame<Bytes>, BoxError> {
    if protocol == Protocol::Grpc {
        let context = RequestContext::current().unwrap_or_default();
        return Ok(Frame::trailers(elapsed().into_trailers(&context)));
    }
    Err(Elapsed::new().into())
}
