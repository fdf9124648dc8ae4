use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    BoxError,
    context::{Entered, RequestContext},
    middleware::{FromBody, body::Either},
    observe::{End, Observation},
};

pin_project! {
    /// Body of the answers of [`Context`](super::Context): the request's context is current while it is polled, and the
    /// request ends with it.
    #[derive(Debug)]
    pub struct ResponseBody<R> {
        #[pin]
        inner: Either<R>,
        seen: Seen,
    }
}

/// The context, and how the request that is observed ends if this is dropped now.
#[derive(Debug)]
struct Seen {
    context: Option<RequestContext>,
    end: Option<End>,
}

impl<R> ResponseBody<R> {
    fn new(inner: Either<R>, context: Option<RequestContext>) -> Self {
        Self { inner, seen: Seen { context, end: None } }
    }
}

impl<R: Body<Data = Bytes>> ResponseBody<R> {
    /// The body of an answer with this head; `is_head`: nobody will read it.
    pub(super) fn observed(
        inner: Either<R>,
        context: Option<RequestContext>,
        head: (StatusCode, &HeaderMap),
        is_head: bool,
    ) -> Self {
        let end = context.as_ref().and_then(|context| {
            context.observation()?.answered();
            let mut end = End::of(head.0, head.1, context.protocol());
            end.is_cut = !is_head && !is_over(&inner);
            Some(end)
        });
        Self { inner, seen: Seen { context, end } }
    }
}

/// Whether all of it was taken: then nobody asks whether there is more.
fn is_over<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

impl Seen {
    /// The last byte was taken.
    fn end(&mut self) {
        if let (Some(context), Some(end)) = (&self.context, self.end.take()) {
            Observation::end(context, end);
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.end();
    }
}

impl<R: FromBody> FromBody for ResponseBody<R> {
    fn from_body<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self::new(Either::from_body(body), None)
    }
}

/// Empty.
impl<R> Default for ResponseBody<R> {
    fn default() -> Self {
        Self::new(Either::default(), None)
    }
}

impl<R: Body<Data = Bytes>> Body for ResponseBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut this = self.project();
        let polled = {
            // Without a context of its own it stays in its caller's.
            let context = &mut this.seen.context;
            let _entered = context.is_some().then(|| Entered::new(context));
            this.inner.as_mut().poll_frame(cx)
        };
        let frame = ready!(polled);
        if let Some(end) = &mut this.seen.end {
            let is_last = match &frame {
                None => true,
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        end.trailers(trailers);
                    }
                    frame.is_trailers() || is_over(&*this.inner)
                }
                Some(Err(_)) => false,
            };
            end.is_cut = !is_last;
            if is_last || matches!(frame, Some(Err(_))) {
                this.seen.end();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
