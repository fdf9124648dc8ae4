//! Ends the work on a request when its deadline passes.
#![doc = include_str!("README.md")]

mod body;
mod future;

use std::{
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

pub use future::ResponseFuture;

use crate::{
    context::{Deadline as At, Entered, RequestContext, Scoped, called_at},
    error::{Error, Protocol, mapping::Elapsed},
    middleware::FromBody,
};

/// Layer of [`Deadline`].
#[derive(Debug, Clone, Copy, Default)]
pub struct DeadlineLayer {
    timeout: Option<Duration>,
}

impl DeadlineLayer {
    /// Enforces the deadline that is in the request's [`RequestContext`]; without one, nothing is bounded.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also bounds the handler to `timeout`. What arrives with the request, or was set further out, can only be
    /// made shorter by it, and calls made by the handler get what is left of the shorter one.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, timeout: self.timeout }
    }
}

/// Middleware that enforces deadlines.
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
    timeout: Option<Duration>,
}

impl<S, B, R> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: FromBody,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let protocol = Protocol::of_current(&request);
        let given = RequestContext::peek(RequestContext::deadline).flatten();
        // One that the caller asked for bounds the body of the answer too, whatever bounds the handler.
        let body = given.filter(|deadline| deadline.is_explicit());
        let Some(timeout) = self.timeout else {
            if given.is_some_and(|given| given.at() <= called_at()) {
                return ResponseFuture::passed(protocol);
            }
            return ResponseFuture::running(self.inner.call(request), given, body, protocol);
        };

        let now = called_at();
        let own = At::by_default_from(now, timeout);
        let head = given.map_or(own, |given| given.earliest(own));
        if head.at() <= now {
            return ResponseFuture::passed(protocol);
        }
        let mut context = Some(RequestContext::current().unwrap_or_default().with_deadline(head));
        let entered = Entered::new(&mut context);
        let inner = self.inner.call(request);
        drop(entered);
        ResponseFuture::narrowed(Scoped::new(inner, context), head, body, protocol)
    }
}

/// The answer for a request whose deadline passed.
fn elapsed() -> Error {
    Error::from(Elapsed::new())
}

#[cfg(test)]
mod tests;
