use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Full, Limited};
use pin_project_lite::pin_project;

use super::Limit;
use crate::{
    BoxError,
    error::Protocol,
    observe::{self, Waiting},
};

pin_project! {
    /// Body of a request that passed [`BodyLimit`](super::BodyLimit).
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        inner: B,
        counted: Option<Counted>,
        // Somebody reads, and the peer sends nothing. In a box: it is rare, and bodies are moved a lot.
        waiting: Option<Box<Waiting>>,
    }
}

#[derive(Debug)]
struct Counted {
    limit: Limit,
    /// What the request said, to be looked at before the first byte.
    length: Option<u64>,
    seen: u64,
    failed: bool,
    protocol: Protocol,
}

impl<B> RequestBody<B> {
    pub(super) fn unlimited(inner: B) -> Self {
        Self { inner, counted: None, waiting: None }
    }

    pub(super) fn limited(inner: B, limit: Limit, length: Option<u64>, protocol: Protocol) -> Self {
        let counted = Counted { limit, length, seen: 0, failed: false, protocol };
        Self { inner, counted: Some(counted), waiting: None }
    }
}

impl Counted {
    fn fail(&mut self) -> BoxError {
        self.failed = true;
        length_limit_error(self.protocol)
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let waiting = this.waiting;
        let mut poll = |inner: Pin<&mut B>| {
            let polled = inner.poll_frame(cx);
            if polled.is_ready() {
                *waiting = None;
            } else if waiting.is_none() {
                *waiting = Some(Box::new(observe::waits_for("request")));
            }
            polled
        };
        let Some(counted) = this.counted else {
            return poll(this.inner).map(|frame| frame.map(|frame| frame.map_err(Into::into)));
        };
        if counted.failed {
            return Poll::Ready(None);
        }
        // Not before now: a layer further in may have set another limit.
        if counted.length.take().is_some_and(|length| length > counted.limit.get()) {
            return Poll::Ready(Some(Err(counted.fail())));
        }
        let polled = std::task::ready!(poll(this.inner));
        if let Some(Ok(frame)) = &polled
            && let Some(data) = frame.data_ref()
        {
            counted.seen += data.remaining() as u64;
            if counted.seen > counted.limit.get() {
                return Poll::Ready(Some(Err(counted.fail())));
            }
        }
        Poll::Ready(polled.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.counted.as_ref().is_some_and(|counted| counted.failed) || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The error that says "too large" to whoever reads the body: tonic looks for a status, axum for http-body-util's
/// error, which only [`Limited`] can make.
pub(in crate::middleware) fn length_limit_error(protocol: Protocol) -> BoxError {
    #[cfg(feature = "grpc")]
    if protocol.is_grpc() {
        return tonic::Status::from(super::too_large()).into();
    }
    let _ = protocol;
    let mut over = Limited::new(Full::new(Bytes::from_static(b"x")), 0);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    match Pin::new(&mut over).poll_frame(&mut cx) {
        Poll::Ready(Some(Err(error))) => error,
        _ => super::too_large().into_boxed(),
    }
}
