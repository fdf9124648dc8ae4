use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use mainstay_core::{error::Protocol, middleware::FromBody};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{admit, answer::refused};
use crate::{Principal, Refusal, Verifier};

pin_project! {
    /// Future of [`Authenticate`](super::Authenticate).
    pub struct ResponseFuture<S, Q>
    where
        S: Service<Q>,
    {
        #[pin]
        state: State<S, Q>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<S, Q>
    where
        S: Service<Q>,
    {
        Verifying { verdict: Verdict, verifier: Verifier, waiting: Option<(S, Q)> },
        Called { #[pin] future: S::Future },
        Answered { answer: Option<Response<Full<Bytes>>> },
    }
}

/// Boxed: only the first sight of a token comes this way.
type Verdict = Pin<Box<dyn Future<Output = Result<Principal, Refusal>> + Send>>;

impl<S: Service<Q>, Q> ResponseFuture<S, Q> {
    pub(super) fn called(future: S::Future) -> Self {
        Self { state: State::Called { future } }
    }

    pub(super) fn answered(answer: Response<Full<Bytes>>) -> Self {
        Self { state: State::Answered { answer: Some(answer) } }
    }

    pub(super) fn verifying(
        verifier: Verifier,
        (token, certificate): (String, Option<Vec<u8>>),
        inner: S,
        request: Q,
    ) -> Self {
        let verdict = {
            let verifier = verifier.clone();
            Box::pin(async move { verifier.verify_with(&token, certificate.as_deref()).await })
        };
        Self { state: State::Verifying { verdict, verifier, waiting: Some((inner, request)) } }
    }
}

impl<S, B, R> Future for ResponseFuture<S, Request<B>>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: FromBody,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Projected::Called { future } => return future.poll(cx),
                Projected::Answered { answer } => {
                    let answer = answer.take().expect("a future is not polled after its end");
                    return Poll::Ready(Ok(answer.map(R::from_body)));
                }
                Projected::Verifying { verdict, verifier, waiting } => {
                    let verdict = ready!(verdict.as_mut().poll(cx));
                    let (mut inner, mut request) =
                        waiting.take().expect("it is taken once, when the state ends");
                    match verdict {
                        Ok(principal) => {
                            admit(&mut request, principal);
                            State::Called { future: inner.call(request) }
                        }
                        Err(refusal) => {
                            let answer = refused(verifier, refusal, Protocol::of_request(&request));
                            State::Answered { answer: Some(answer) }
                        }
                    }
                }
            };
            state.set(next);
        }
    }
}

impl<S: Service<Q>, Q> fmt::Debug for ResponseFuture<S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Verifying { .. } => "ResponseFuture::Verifying",
            State::Called { .. } => "ResponseFuture::Called",
            State::Answered { .. } => "ResponseFuture::Answered",
        })
    }
}
