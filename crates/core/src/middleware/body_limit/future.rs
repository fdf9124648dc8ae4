use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::too_large;
use crate::{context::RequestContext, error::Protocol, middleware::body::Either};

pin_project! {
    /// Future of [`BodyLimit`](super::BodyLimit).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Running { #[pin] inner: F },
        TooLarge { protocol: Protocol },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn running(inner: F) -> Self {
        Self { state: State::Running { inner } }
    }

    pub(super) fn too_large(protocol: Protocol) -> Self {
        Self { state: State::TooLarge { protocol } }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match self.project().state.project() {
            StateProjection::Running { inner } => ready!(inner.poll(cx))?.map(Either::inner),
            StateProjection::TooLarge { protocol } => {
                let context = RequestContext::current().unwrap_or_default();
                too_large().answer(*protocol, &context).map(Either::own)
            }
        };
        Poll::Ready(Ok(response.map(|inner| ResponseBody { inner })))
    }
}

pin_project! {
    /// Body of the answers of [`BodyLimit`](super::BodyLimit).
    #[derive(Debug)]
    pub struct ResponseBody<R> {
        #[pin]
        inner: Either<R>,
    }
}

/// Empty.
impl<R> Default for ResponseBody<R> {
    fn default() -> Self {
        Self { inner: Either::default() }
    }
}

impl<R: Body<Data = Bytes>> Body for ResponseBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
