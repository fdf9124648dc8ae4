//! Turns the error answers that axum makes itself into problem documents.
#![doc = include_str!("README.md")]

mod body;
mod future;

use std::task::{Context, Poll};

use http::{Method, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

pub use future::ResponseFuture;

use crate::{error::Protocol, middleware::FromBody};

/// Layer of [`Problems`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ProblemLayer(());

impl ProblemLayer {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for ProblemLayer {
    type Service = Problems<S>;

    fn layer(&self, inner: S) -> Problems<S> {
        Problems { inner }
    }
}

/// Middleware that makes problem documents of axum's bare error answers.
#[derive(Debug, Clone)]
pub struct Problems<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Problems<S>
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
        let is_head = request.method() == Method::HEAD;
        ResponseFuture::new(self.inner.call(request), protocol, is_head)
    }
}

#[cfg(test)]
mod tests;
