//! Bounds the bytes of a request's body.
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

use http::{HeaderMap, Request, Response, header};
use tower_layer::Layer;
use tower_service::Service;

pub use body::RequestBody;
#[cfg(feature = "compression")]
pub(super) use body::length_limit_error;
pub use future::ResponseFuture;

use crate::{
    error::{Error, Kind, Protocol},
    middleware::FromBody,
};

/// Layer of [`BodyLimit`].
#[derive(Debug, Clone, Copy)]
pub struct BodyLimitLayer {
    max: u64,
    overridable: bool,
}

impl BodyLimitLayer {
    /// At most `max` bytes. Overrides an overridable layer further out.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self { max, overridable: false }
    }

    /// At most `max` bytes, unless a layer further in says something else. `Content-Length` is looked at when the
    /// body is first read: a handler that does not read its body is not kept from answering.
    #[must_use]
    pub fn overridable(max: u64) -> Self {
        Self { max, overridable: true }
    }
}

impl<S> Layer<S> for BodyLimitLayer {
    type Service = BodyLimit<S>;

    fn layer(&self, inner: S) -> BodyLimit<S> {
        BodyLimit { inner, layer: *self }
    }
}

/// Middleware that bounds the bodies of requests.
#[derive(Debug, Clone)]
pub struct BodyLimit<S> {
    inner: S,
    layer: BodyLimitLayer,
}

/// The limit of this request, in its extensions: shared by the body that counts and the layers that decide.
#[derive(Debug, Clone)]
pub(super) struct Limit(Arc<AtomicU64>);

impl Limit {
    pub(super) fn new(max: u64) -> Self {
        Self(Arc::new(AtomicU64::new(max)))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S, B, R> Service<Request<B>> for BodyLimit<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    B: http_body::Body,
    R: FromBody,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Most requests have no body, and pay nothing.
        if request.body().is_end_stream() {
            return ResponseFuture::running(self.inner.call(request.map(RequestBody::unlimited)));
        }
        let BodyLimitLayer { max, overridable } = self.layer;
        let protocol = Protocol::of_current(&request);
        if !overridable && content_length(request.headers()).is_some_and(|length| length > max) {
            return ResponseFuture::too_large(protocol);
        }
        if let Some(Limit(limit)) = request.extensions().get::<Limit>() {
            // The body is counted further out already.
            limit.store(max, Ordering::Relaxed);
            return ResponseFuture::running(self.inner.call(request.map(RequestBody::unlimited)));
        }
        let limit = Limit::new(max);
        request.extensions_mut().insert(limit.clone());
        axum::extract::DefaultBodyLimit::disable().apply(&mut request);
        let length = content_length(request.headers());
        let request = request.map(|body| RequestBody::limited(body, limit, length, protocol));
        ResponseFuture::running(self.inner.call(request))
    }
}

/// hyper has refused what is no number, and what is there twice and differs.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large() -> Error {
    Error::new(Kind::ContentTooLarge).with_detail("the request body is larger than the limit")
}

#[cfg(test)]
mod tests;
