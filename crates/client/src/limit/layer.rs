//! The layer for other stacks.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mainstay_core::BoxError;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Config, Full, Limit, Slot};

/// Layer of [`Limited`]. What it makes, and its clones, share one limit.
#[derive(Debug, Clone)]
pub struct LimitLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    limit: Limit,
}

/// Middleware that refuses calls with [`Full`] while as many are under way as its limit allows. Ready when the inner
/// service is; the call asks. A call is under way until its outcome is here: what streams after that is not counted.
#[derive(Debug, Clone)]
pub struct Limited<S> {
    inner: S,
    shared: Arc<Shared>,
}

pin_project! {
    /// Future of [`Limited`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        // None where there was no room.
        #[pin]
        inner: Option<F>,
        slot: Option<Slot>,
    }
}

impl LimitLayer {
    /// With the limit of `config`.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Shared { config, limit: Limit::default() }))
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, shared: self.0.clone() }
    }
}

impl<S, R> Service<R> for Limited<S>
where
    S: Service<R, Error: Into<BoxError>>,
{
    type Response = S::Response;
    /// [`Full`], or that of the inner service.
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.shared.limit.acquire(&self.shared.config) {
            Ok(slot) => ResponseFuture { inner: Some(self.inner.call(request)), slot },
            Err(Full) => ResponseFuture { inner: None, slot: None },
        }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(Err(Full.into())) };
        let outcome = ready!(inner.poll(cx));
        if let Some(slot) = this.slot.take() {
            drop(slot.answered(outcome.is_err()));
        }
        Poll::Ready(outcome.map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_refused_and_room_comes_back_with_the_outcome_or_the_drop() {
        let slow = service_fn(async |millis: u64| {
            tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
            Ok::<_, std::io::Error>(millis)
        });
        let config = Config { max_in_flight: 2, adaptive: false };
        let limited = LimitLayer::new(config).layer(slow);
        let call = |millis| limited.clone().oneshot(millis);
        let (first, second, third) = tokio::join!(call(5), call(50), call(5));
        assert_eq!((first.unwrap(), second.unwrap()), (5, 50));
        assert!(third.unwrap_err().is::<Full>());

        let (one, other) = (tokio::time::timeout(std::time::Duration::from_millis(1), call(50)), call(5));
        let (dropped, _) = tokio::join!(one, other);
        assert!(dropped.is_err());
        let (first, second) = tokio::join!(call(1), call(1));
        assert!(first.is_ok() && second.is_ok());
    }
}
