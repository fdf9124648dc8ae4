//! The layer for other stacks.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::{Config, race};
use crate::{latency::Latency, retry::Budget};

/// Layer of [`Hedge`]. What it makes, and its clones, share measurements and budget.
#[derive(Debug, Clone)]
pub struct HedgeLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    percentile: f64,
    share: f64,
    budget: Budget,
    latency: Latency,
}

/// Middleware that sends a clone of a request that takes longer than most to a clone of its service.
///
/// Requests are to be idempotent, and cheap to clone. A service is ready when the inner one is; the second request waits
/// for its own clone of that.
#[derive(Debug, Clone)]
pub struct Hedge<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Future of [`Hedge`].
pub struct ResponseFuture<T, E>(Pin<Box<dyn Future<Output = Result<T, E>> + Send>>);

impl HedgeLayer {
    /// Hedges at the percentile of `config` (its `enabled` is for the client), paid for by `budget`, into which each
    /// success pays `share` of a request, such as 0.2.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is handed over")]
    pub fn new(config: Config, share: f64, budget: Budget) -> Self {
        let percentile = config.percentile;
        Self(Arc::new(Shared { percentile, share, budget, latency: Latency::new() }))
    }
}

impl<S> Layer<S> for HedgeLayer {
    type Service = Hedge<S>;

    fn layer(&self, inner: S) -> Hedge<S> {
        Hedge { inner, shared: self.0.clone() }
    }
}

impl<S, R> Service<R> for Hedge<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send,
    R: Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let other = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, other.clone());
        let shared = self.shared.clone();
        ResponseFuture(Box::pin(async move {
            let spare = request.clone();
            let first = attempt(ready, true, request, &shared);
            let Some(delay) = shared.latency.recent_percentile(shared.percentile) else { return first.await };
            let second = || shared.budget.withdraw().then(|| attempt(other, false, spare, &shared));
            race(first, delay, second, Result::is_ok).await
        }))
    }
}

async fn attempt<S, R>(
    mut service: S,
    is_ready: bool,
    request: R,
    shared: &Shared,
) -> Result<S::Response, S::Error>
where
    S: Service<R>,
{
    let mut running = Running { shared, since: Instant::now(), counts: true };
    let outcome = async {
        if !is_ready {
            poll_fn(|cx| service.poll_ready(cx)).await?;
        }
        service.call(request).await
    };
    let outcome = outcome.await;
    match &outcome {
        Ok(_) => shared.budget.deposit(shared.share),
        Err(_) => running.counts = false,
    }
    outcome
}

/// Tells how long an attempt took that succeeded, or was dropped: that took at least so long.
struct Running<'a> {
    shared: &'a Shared,
    since: Instant,
    counts: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.counts {
            let now = Instant::now();
            self.shared.latency.record(now - self.since, now);
        }
    }
}

impl<T, E> Future for ResponseFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T, E> fmt::Debug for ResponseFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_most_is_asked_for_once_more_while_the_budget_lasts() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let service = service_fn(move |slow_first: bool| {
            let call = counted.fetch_add(1, Ordering::Relaxed);
            let millis = if slow_first && call.is_multiple_of(2) { 10_000 } else { 5 };
            async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok::<_, ()>(millis)
            }
        });
        let budget = Budget::new();
        let mut hedged = HedgeLayer::new(Config::default(), 0.0, budget).layer(service);
        let took = async |hedged: &mut Hedge<_>, slow_first| {
            let since = Instant::now();
            hedged.ready().await.unwrap().call(slow_first).await.unwrap();
            since.elapsed()
        };
        for _ in 0..1000 {
            // Time passes with each of them, and the percentile is worked out anew.
            assert!(took(&mut hedged, false).await < Duration::from_millis(10));
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1000, "nothing was hedged");
        for _ in 0..10 {
            assert!(took(&mut hedged, true).await < Duration::from_millis(20));
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1020);
        // Ten were there, and nothing was paid in.
        assert!(took(&mut hedged, true).await > Duration::from_secs(9));
        assert_eq!(calls.load(Ordering::Relaxed), 1021);
    }
}
