use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::limiter::Permit;

pin_project! {
    /// A body that takes up room while it is made.
    pub(super) struct Held<R> {
        #[pin]
        inner: R,
        permit: Option<Permit>,
    }
}

impl<R> Held<R> {
    pub(super) fn new(inner: R, permit: Permit) -> Self {
        Self { inner, permit: Some(permit) }
    }
}

impl<R: Body<Data = Bytes>> Body for Held<R> {
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
