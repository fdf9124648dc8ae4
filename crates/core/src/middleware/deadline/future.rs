use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};

use super::{At, body::Bounded, elapsed};
use crate::{
    context::{RequestContext, Scoped},
    error::Protocol,
    middleware::FromBody,
};

pin_project! {
    /// Future of [`Deadline`](super::Deadline).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        work: Work<F>,
        // Boxed: it is large, and only what has to wait needs it.
        sleep: Option<Pin<Box<Sleep>>>,
        head: Option<At>,
        body: Option<At>,
        protocol: Protocol,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = WorkProjection]
    enum Work<F> {
        Running { #[pin] inner: F },
        // In the context that has the shorter deadline.
        Narrowed { #[pin] inner: Scoped<F> },
        Dropped,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn running(inner: F, head: Option<At>, body: Option<At>, protocol: Protocol) -> Self {
        Self { work: Work::Running { inner }, sleep: None, head, body, protocol }
    }

    pub(super) fn narrowed(inner: Scoped<F>, head: At, body: Option<At>, protocol: Protocol) -> Self {
        Self { work: Work::Narrowed { inner }, sleep: None, head: Some(head), body, protocol }
    }

    /// The handler is not called at all.
    pub(super) fn passed(protocol: Protocol) -> Self {
        Self { work: Work::Dropped, sleep: None, head: None, body: None, protocol }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: FromBody,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = match this.work.as_mut().project() {
            WorkProjection::Running { inner } => Some(inner.poll(cx)),
            WorkProjection::Narrowed { inner } => Some(inner.poll(cx)),
            WorkProjection::Dropped => None,
        };
        match polled {
            Some(Poll::Ready(outcome)) => {
                let Some(deadline) = *this.body else { return Poll::Ready(outcome) };
                let response = outcome?;
                if response.body().is_end_stream() {
                    return Poll::Ready(Ok(response));
                }
                let bounded = |body| R::from_body(Bounded::new(body, deadline, *this.protocol));
                return Poll::Ready(Ok(response.map(bounded)));
            }
            Some(Poll::Pending) => {
                let Some(head) = *this.head else { return Poll::Pending };
                // Only a handler that waits costs a timer.
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(head.at())));
                std::task::ready!(sleep.as_mut().poll(cx));
            }
            None => {}
        }
        // The handler's work ends here, before the answer is on its way.
        this.work.set(Work::Dropped);
        let context = RequestContext::current().unwrap_or_default();
        let answer = elapsed().answer(*this.protocol, &context);
        Poll::Ready(Ok(answer.map(R::from_body)))
    }
}
