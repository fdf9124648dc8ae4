//! Refuses what there is no room for: an adaptive limit on the requests in flight.
#![doc = include_str!("README.md")]

mod body;
mod config;
mod estimate;
mod future;
mod histogram;
mod lease;
mod limiter;

use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

pub use config::{Config, Shares};
pub use future::ResponseFuture;
pub use limiter::{Limiter, Permit, Snapshot};

use crate::{
    context::{RequestContext, called_at},
    error::Protocol,
    middleware::FromBody,
};

/// Layer of [`Shed`].
#[derive(Debug, Clone, Default)]
pub struct ShedLayer {
    limiter: Limiter,
}

impl ShedLayer {
    /// With this limiter. All services made by this layer and its clones share it.
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self { limiter }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, limiter: self.limiter.clone() }
    }
}

/// Middleware that refuses requests above the limit. Being ready reserves nothing: the room is taken by the call, and
/// travels in its future.
#[derive(Debug, Clone)]
pub struct Shed<S> {
    inner: S,
    limiter: Limiter,
}

impl<S, B, R> Service<Request<B>> for Shed<S>
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
        let criticality = RequestContext::peek(RequestContext::criticality).unwrap_or_default();
        let protocol = Protocol::of_current(&request);
        match self.limiter.acquire_at(criticality, called_at()) {
            Ok(permit) => ResponseFuture::admitted(self.inner.call(request), permit, protocol),
            Err(overloaded) => ResponseFuture::refused(overloaded, protocol),
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
