use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::limiter::Permit;
use crate::middleware::body::Either;

pin_project! {
    /// Body of the answers of [`Shed`](super::Shed): takes up room while it is made.
    #[derive(Debug)]
    pub struct ResponseBody<R> {
        #[pin]
        inner: Either<R>,
        // Boxed: few bodies need one.
        permit: Option<Box<Permit>>,
    }
}

impl<R> ResponseBody<R> {
    pub(super) fn new(inner: Either<R>, permit: Option<Permit>) -> Self {
        Self { inner, permit: permit.map(Box::new) }
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
