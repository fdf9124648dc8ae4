use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
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
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Running { #[pin] inner: Scoped<F> },
        Answered { answer: Option<Box<(Response<Full<Bytes>>, RequestContext)>> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, context: Option<RequestContext>) -> Self {
        Self { state: State::Running { inner: Scoped::new(inner, context) } }
    }

    pub(super) fn answered(answer: Response<Full<Bytes>>, context: RequestContext) -> Self {
        Self { state: State::Answered { answer: Some(Box::new((answer, context))) } }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Running { mut inner } => {
                let response = ready!(inner.as_mut().poll(cx))?;
                Poll::Ready(Ok(finish(response, Either::inner, inner.take_context())))
            }
            StateProjection::Answered { answer } => match answer.take() {
                Some(answer) => Poll::Ready(Ok(finish(answer.0, Either::own, Some(answer.1)))),
                // Polled again after it was done.
                None => Poll::Pending,
            },
        }
    }
}

/// The answer with the id of its request; its body keeps the context.
fn finish<B, R>(
    mut response: Response<B>,
    body: impl FnOnce(B) -> Either<R>,
    context: Option<RequestContext>,
) -> Response<ResponseBody<R>> {
    if let Some(context) = &context {
        response.headers_mut().insert(REQUEST_ID, context.request_id().to_header_value());
    }
    response.map(|inner| ResponseBody::new(body(inner), context))
}
