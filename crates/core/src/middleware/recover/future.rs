use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;

use super::{Panics, ResponseBody, answer, hook};
use crate::{context::RequestContext, error::Protocol, middleware::body::Either};

pin_project! {
    /// Future of [`Recover`](super::Recover).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        protocol: Protocol,
        panics: Panics,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Running { #[pin] inner: F },
        Panicked { caught: hook::Caught },
        Done,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(call: Result<F, hook::Caught>, protocol: Protocol, panics: Panics) -> Self {
        let state = match call {
            Ok(inner) => State::Running { inner },
            Err(caught) => State::Panicked { caught },
        };
        Self { state, protocol, panics }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = match this.state.as_mut().project() {
            StateProjection::Running { inner } => hook::guard(|| inner.poll(cx)),
            StateProjection::Panicked { .. } | StateProjection::Done => Ok(Poll::Pending),
        };
        let caught = match polled {
            Ok(Poll::Ready(outcome)) => {
                let panics = this.panics.clone();
                return Poll::Ready(
                    outcome
                        .map(|response| response.map(|body| ResponseBody::new(Either::inner(body), panics))),
                );
            }
            Ok(Poll::Pending) => match take_panic(this.state.as_mut()) {
                Some(caught) => caught,
                None => return Poll::Pending,
            },
            Err(caught) => {
                // What panicked is not polled again, and may panic once more when it is dropped.
                if let Err(again) = hook::guard(|| this.state.set(State::Done)) {
                    this.panics.record(&again, &RequestContext::current().unwrap_or_default());
                }
                caught
            }
        };
        let context = RequestContext::current().unwrap_or_default();
        this.panics.record(&caught, &context);
        let answer = answer(*this.protocol, &context);
        Poll::Ready(Ok(answer.map(|body| ResponseBody::new(Either::own(body), this.panics.clone()))))
    }
}

/// The panic of `call`, to be answered at the first poll.
fn take_panic<F>(state: Pin<&mut State<F>>) -> Option<hook::Caught> {
    if let StateProjection::Panicked { caught } = state.project() {
        let taken = hook::Caught {
            message: std::mem::take(&mut caught.message),
            location: std::mem::take(&mut caught.location),
            backtrace: caught.backtrace.take(),
        };
        return Some(taken);
    }
    None
}
