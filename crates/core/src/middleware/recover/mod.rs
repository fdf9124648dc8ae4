//! Turns a panic into an answer: 500, or gRPC `INTERNAL`.
#![doc = include_str!("README.md")]

mod body;
mod future;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

pub use body::ResponseBody;
pub use future::ResponseFuture;

use crate::{
    context::RequestContext,
    error::{Error, Kind, Protocol},
    panics,
};

/// How many panics were caught. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Panics(Arc<AtomicU64>);

impl Panics {
    /// How many so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts and logs one.
    fn record(&self, caught: &panics::Caught, context: &RequestContext) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let panics::Caught { message, location, backtrace } = caught;
        let (trace, request_id) = (context.trace(), context.request_id());
        tracing::error!(
            exception.message = message,
            exception.stacktrace = backtrace.as_ref().map(tracing::field::display),
            location,
            trace_id = %trace.trace_id(),
            span_id = %trace.span_id(),
            %request_id,
            "a handler panicked"
        );
    }
}

/// A panic, as the error that ends a response body. What it said is in the log, not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body of the answer panicked")]
#[non_exhaustive]
pub struct Panicked;

/// Layer of [`Recover`].
#[derive(Debug, Clone)]
pub struct RecoverLayer {
    panics: Panics,
}

impl RecoverLayer {
    /// Counts in `panics`. Sets the panic hook of the process, once, in front of the one that is there.
    #[must_use]
    pub fn new(panics: Panics) -> Self {
        panics::install();
        Self { panics }
    }
}

impl Default for RecoverLayer {
    fn default() -> Self {
        Self::new(Panics::default())
    }
}

impl<S> Layer<S> for RecoverLayer {
    type Service = Recover<S>;

    fn layer(&self, inner: S) -> Recover<S> {
        Recover { inner, panics: self.panics.clone() }
    }
}

/// Middleware that catches panics.
#[derive(Debug, Clone)]
pub struct Recover<S> {
    inner: S,
    panics: Panics,
}

impl<S, B, R> Service<Request<B>> for Recover<S>
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
        let protocol = Protocol::of_current(&request);
        // Handed in and out by reference: what a guard is given and gives back is copied at each step.
        let (mut request, mut called) = (Some(request), None);
        let outcome = panics::guard(|| called = request.take().map(|request| self.inner.call(request)));
        match (called, outcome) {
            (Some(inner), _) => ResponseFuture::running(inner, protocol, self.panics.clone()),
            (None, outcome) => ResponseFuture::panicked(outcome.err(), protocol, self.panics.clone()),
        }
    }
}

/// The answer for a request whose handler panicked.
fn answer(protocol: Protocol, context: &RequestContext) -> Response<http_body_util::Full<bytes::Bytes>> {
    Error::new(Kind::Internal).with_detail("the handler panicked").answer(protocol, context)
}

#[cfg(test)]
mod tests;
