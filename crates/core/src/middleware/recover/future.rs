use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;

use super::{Panics, ResponseBody, answer};
use crate::{context::RequestContext, error::Protocol, middleware::body::Either, panics};

pin_project! {
    /// Future of [`Recover`](super::Recover).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        protocol: Protocol,
        // Taken by the body.
        panics: Option<Panics>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Running { #[pin] inner: F },
        Panicked { caught: Option<Box<panics::Caught>> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn running(inner: F, protocol: Protocol, panics: Panics) -> Self {
        Self { state: State::Running { inner }, protocol, panics: Some(panics) }
    }

    /// The panic of the call itself, to be answered at the first poll.
    pub(super) fn panicked(caught: Option<Box<panics::Caught>>, protocol: Protocol, panics: Panics) -> Self {
        Self { state: State::Panicked { caught }, protocol, panics: Some(panics) }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Written in its place from inside of the guard: an answer is large to be handed on once more.
        let mut outcome = Poll::Pending;
        let caught = match this.state.as_mut().project() {
            StateProjection::Running { inner } => {
                let polled = panics::guard(|| {
                    if let Poll::Ready(answer) = inner.poll(cx) {
                        let panics = this.panics.take();
                        outcome = Poll::Ready(answer.map(|response| {
                            response.map(|body| ResponseBody::new(Either::inner(body), panics))
                        }));
                    }
                });
                let Err(caught) = polled else { return outcome };
                // What panicked is not polled again, and may panic once more when it is dropped.
                if let Err(again) = panics::guard(|| this.state.set(State::Panicked { caught: None }))
                    && let Some(panics) = this.panics
                {
                    panics.record(&again, &RequestContext::current().unwrap_or_default());
                }
                caught
            }
            StateProjection::Panicked { caught } => match caught.take() {
                Some(caught) => caught,
                // Polled again after it was done.
                None => return Poll::Pending,
            },
        };
        let context = RequestContext::current().unwrap_or_default();
        let panics = this.panics.take();
        if let Some(panics) = &panics {
            panics.record(&caught, &context);
        }
        let answer = answer(*this.protocol, &context);
        Poll::Ready(Ok(answer.map(|body| ResponseBody::new(Either::own(body), panics))))
    }
}
