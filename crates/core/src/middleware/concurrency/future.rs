use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::{Permit, ResponseBody};
use crate::{
    context::RequestContext,
    error::{Error, Protocol, mapping::Overloaded},
    middleware::body::Either,
};

pin_project! {
    /// Future of [`Concurrency`](super::Concurrency).
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
        Admitted { #[pin] inner: F, permit: Option<Permit> },
        Refused { overloaded: Overloaded, protocol: Protocol },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn admitted(inner: F, permit: Permit) -> Self {
        Self { state: State::Admitted { inner, permit: Some(permit) } }
    }

    pub(super) fn refused(overloaded: Overloaded, protocol: Protocol) -> Self {
        Self { state: State::Refused { overloaded, protocol } }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Admitted { inner, permit } => {
                let outcome = ready!(inner.poll(cx));
                let permit = permit.take();
                let response = outcome?;
                Poll::Ready(Ok(response.map(|body| ResponseBody::new(Either::inner(body), permit))))
            }
            StateProjection::Refused { overloaded, protocol } => {
                let context = RequestContext::current().unwrap_or_default();
                let answer = Error::from(*overloaded)
                    .with_detail("too many requests at once")
                    .answer(*protocol, &context);
                Poll::Ready(Ok(answer.map(|body| ResponseBody::new(Either::own(body), None))))
            }
        }
    }
}
