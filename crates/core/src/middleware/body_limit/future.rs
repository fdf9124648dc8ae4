use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;

use super::too_large;
use crate::{context::RequestContext, error::Protocol, middleware::FromBody};

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
    R: FromBody,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Running { inner } => inner.poll(cx),
            StateProjection::TooLarge { protocol } => {
                let context = RequestContext::current().unwrap_or_default();
                Poll::Ready(Ok(too_large().answer(*protocol, &context).map(R::from_body)))
            }
        }
    }
}
