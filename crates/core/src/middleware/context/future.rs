use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::ResponseBody;
use crate::{
    context::{REQUEST_ID, RequestContext, Scoped},
    middleware::body::Either,
};

pin_project! {
    /// Future of [`Context`](super::Context).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        context: RequestContext,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Running { #[pin] inner: Scoped<F> },
        Answered { answer: Option<Response<Full<Bytes>>> },
    }
}

impl<F: Future> ResponseFuture<F> {
    pub(super) fn new(inner: F, context: RequestContext) -> Self {
        Self { state: State::Running { inner: context.clone().scope(inner) }, context }
    }

    pub(super) fn answered(answer: Response<Full<Bytes>>, context: RequestContext) -> Self {
        Self { state: State::Answered { answer: Some(answer) }, context }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.state.project() {
            StateProjection::Running { inner } => match inner.poll(cx) {
                Poll::Ready(Ok(response)) => response.map(Either::inner),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            },
            StateProjection::Answered { answer } => match answer.take() {
                Some(answer) => answer.map(Either::own),
                // Polled again after it was done.
                None => return Poll::Pending,
            },
        };
        let mut response = response.map(|body| ResponseBody::new(body, this.context.clone()));
        response.headers_mut().insert(REQUEST_ID, this.context.request_id().to_header_value());
        Poll::Ready(Ok(response))
    }
}
