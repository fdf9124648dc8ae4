//! The layer for other stacks.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use mainstay_core::BoxError;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Circuit, Open, Permit};

/// Layer of [`Breaker`]. What it makes, and its clones, share one [`Circuit`].
#[derive(Debug, Clone)]
pub struct BreakerLayer<F> {
    circuit: Circuit,
    is_failure: F,
}

/// Middleware that refuses calls with [`Open`] while too many have failed. Ready when the inner service is; the call
/// asks.
#[derive(Debug, Clone)]
pub struct Breaker<S, F> {
    inner: S,
    circuit: Circuit,
    is_failure: F,
}

pin_project! {
    /// Future of [`Breaker`].
    #[derive(Debug)]
    pub struct ResponseFuture<I, F> {
        #[pin]
        state: Running<I>,
        permit: Option<Permit>,
        is_failure: F,
    }
}

pin_project! {
    #[project = RunningProjection]
    #[derive(Debug)]
    enum Running<I> {
        Admitted { #[pin] inner: I },
        Refused { open: Open },
    }
}

impl<F> BreakerLayer<F> {
    /// `is_failure` looks at the outcome of each call: `Result::is_err`, say.
    #[must_use]
    pub fn new(circuit: Circuit, is_failure: F) -> Self {
        Self { circuit, is_failure }
    }
}

impl<S, F: Clone> Layer<S> for BreakerLayer<F> {
    type Service = Breaker<S, F>;

    fn layer(&self, inner: S) -> Breaker<S, F> {
        Breaker { inner, circuit: self.circuit.clone(), is_failure: self.is_failure.clone() }
    }
}

impl<S, F, R> Service<R> for Breaker<S, F>
where
    S: Service<R, Error: Into<BoxError>>,
    F: Fn(&Result<S::Response, S::Error>) -> bool + Clone,
{
    type Response = S::Response;
    /// [`Open`], or that of the inner service.
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (state, permit) = match self.circuit.admit() {
            Ok(permit) => (Running::Admitted { inner: self.inner.call(request) }, Some(permit)),
            Err(open) => (Running::Refused { open }, None),
        };
        ResponseFuture { state, permit, is_failure: self.is_failure.clone() }
    }
}

impl<I, F, T, E> Future for ResponseFuture<I, F>
where
    I: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
    F: Fn(&Result<T, E>) -> bool,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.state.project() {
            RunningProjection::Admitted { inner } => {
                let outcome = ready!(inner.poll(cx));
                if let Some(permit) = this.permit.take() {
                    permit.ended((this.is_failure)(&outcome));
                }
                Poll::Ready(outcome.map_err(Into::into))
            }
            RunningProjection::Refused { open } => Poll::Ready(Err((*open).into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::breaker::Config;

    #[tokio::test(start_paused = true)]
    async fn calls_are_refused_once_too_many_failed() {
        let circuit = Circuit::new(Config { min_calls: 3, ..Config::default() });
        let failing = service_fn(async |(): ()| Err::<(), _>(std::io::Error::other("no")));
        let guarded = BreakerLayer::new(circuit, Result::is_err).layer(failing);
        for _ in 0..3 {
            let error = guarded.clone().oneshot(()).await.unwrap_err();
            assert!(error.is::<std::io::Error>(), "{error}");
        }
        let error = guarded.clone().oneshot(()).await.unwrap_err();
        assert!(error.is::<Open>(), "{error}");
    }
}
