use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::ResponseBody;
use crate::{
    context::{REQUEST_ID, RequestContext, Scoped},
    middleware::body::Either,
    observe::{End, Observation},
};

pin_project! {
    /// Future of [`Context`](super::Context).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        // The answer has no body, whatever its head says.
        is_head: bool,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            // Nobody waits for the answer any more. What it was is in the context, which its end has taken.
            if let StateProjection::Running { inner } = this.project().state.project()
                && let Some(context) = inner.as_ref().get_ref().context()
            {
                Observation::end(context, End { is_cut: true, ..End::default() });
            }
        }
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
    pub(super) fn new(inner: F, context: Option<RequestContext>, is_head: bool) -> Self {
        Self { state: State::Running { inner: Scoped::new(inner, context) }, is_head }
    }

    pub(super) fn answered(answer: Response<Full<Bytes>>, context: RequestContext) -> Self {
        Self { state: State::Answered { answer: Some(Box::new((answer, context))) }, is_head: false }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.state.project() {
            StateProjection::Running { mut inner } => {
                let response = ready!(inner.as_mut().poll(cx))?;
                Poll::Ready(Ok(finish(response, Either::inner, inner.take_context(), *this.is_head)))
            }
            StateProjection::Answered { answer } => match answer.take() {
                Some(answer) => Poll::Ready(Ok(finish(answer.0, Either::own, Some(answer.1), *this.is_head))),
                // Polled again after it was done.
                None => Poll::Pending,
            },
        }
    }
}

/// The answer with the id of its request; its body keeps the context.
fn finish<B, R: Body<Data = Bytes>>(
    mut response: Response<B>,
    body: impl FnOnce(B) -> Either<R>,
    context: Option<RequestContext>,
    is_head: bool,
) -> Response<ResponseBody<R>> {
    if let Some(context) = &context {
        response.headers_mut().insert(REQUEST_ID, context.request_id().to_header_value());
    }
    let (head, inner) = response.into_parts();
    let body = ResponseBody::observed(body(inner), context, (head.status, &head.headers), is_head);
    Response::from_parts(head, body)
}
