use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::Permit;
use crate::{
    BoxError,
    middleware::{FromBody, body::Either},
};

pin_project! {
    /// Body of the answers of [`Concurrency`](super::Concurrency): takes up room until its end.
    #[derive(Debug)]
    pub struct ResponseBody<R> {
        #[pin]
        inner: Either<R>,
        permit: Option<Permit>,
    }
}

impl<R> ResponseBody<R> {
    pub(super) fn new(inner: Either<R>, permit: Option<Permit>) -> Self {
        Self { inner, permit }
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
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            *this.permit = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
