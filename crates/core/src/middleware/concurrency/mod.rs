//! Refuses what is over a fixed number of requests at once.
#![doc = include_str!("README.md")]

mod body;
mod future;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration as StdDuration,
};

use http::{Request, Response};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

pub use body::ResponseBody;
pub use future::ResponseFuture;

use crate::{
    config::{Duration, Findings, Section},
    error::{Protocol, mapping::Overloaded},
};

/// The bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The most requests at once, open bodies of answers included. Default: 1,000.
    pub max: u32,
    /// What refused callers are told to wait. Default: 1 s.
    pub retry_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { max: 1000, retry_after: Duration::from_secs(1) }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if self.max == 0 {
            findings.reject("max", "at least 1");
        }
    }
}

/// Layer of [`Concurrency`]. All services made by it and its clones share one bound.
#[derive(Debug, Clone)]
pub struct ConcurrencyLayer {
    bound: Arc<Bound>,
}

#[derive(Debug)]
struct Bound {
    max: u32,
    retry_after: StdDuration,
    in_flight: AtomicU32,
}

impl ConcurrencyLayer {
    /// With this bound.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let Config { max, retry_after } = config;
        Self { bound: Arc::new(Bound { max, retry_after: retry_after.get(), in_flight: AtomicU32::new(0) }) }
    }

    /// How many requests there are now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.bound.in_flight.load(Ordering::Relaxed)
    }
}

impl Default for ConcurrencyLayer {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = Concurrency<S>;

    fn layer(&self, inner: S) -> Concurrency<S> {
        Concurrency { inner, bound: Arc::clone(&self.bound) }
    }
}

/// Middleware that bounds the requests at once. Being ready reserves nothing: the room is taken by the call.
#[derive(Debug, Clone)]
pub struct Concurrency<S> {
    inner: S,
    bound: Arc<Bound>,
}

/// Room for one request. Given back when it is dropped.
#[derive(Debug)]
struct Permit(Arc<Bound>);

impl Permit {
    fn acquire(bound: &Arc<Bound>) -> Option<Self> {
        let room = |count: u32| (count < bound.max).then(|| count + 1);
        let entered = bound.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room);
        entered.is_ok().then(|| Self(Arc::clone(bound)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S, B, R> Service<Request<B>> for Concurrency<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match Permit::acquire(&self.bound) {
            Some(permit) => ResponseFuture::admitted(self.inner.call(request), permit),
            None => {
                let overloaded = Overloaded::new(self.bound.retry_after);
                ResponseFuture::refused(overloaded, Protocol::of(request.headers()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
