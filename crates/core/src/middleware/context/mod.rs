//! Makes the [`RequestContext`](crate::context::RequestContext) of a request and keeps it current while the request is worked on.
#![doc = include_str!("README.md")]

mod body;
mod future;
mod read;

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

pub use body::ResponseBody;
pub use future::ResponseFuture;

use crate::{
    config::{Duration, Findings, Section},
    context::{Ambient, Calling, Entered, Propagation, RequestContext, called_at},
    error::Protocol,
    observe::Observation,
};

/// What is believed of the header fields of a request, and the deadline where none arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Whether `x-request-id`, `traceparent`, `tracestate` and `baggage` are taken from the request. Where it is
    /// false every request starts a new trace. Default: true.
    pub trust_ids: bool,
    /// The formats in which the trace of a request is looked for, in this order, and sent on: `w3c` (`traceparent`), `b3`,
    /// `b3multi` (`x-b3-traceid` and others), `jaeger` (`uber-trace-id`). Calls outside of a request send `w3c`. Default:
    /// `["w3c"]`.
    pub propagation: Propagation,
    /// Whether `x-request-criticality` and `x-request-attempt` are taken from the request. Default: true.
    pub trust_priority: bool,
    /// The deadline of a request that brings none; `0s`: none. It bounds the handler, not the body of the answer.
    /// Default: 30 s.
    pub default_timeout: Duration,
    /// The longest deadline that a request can bring; a later one is cut to it. Default: 1 h.
    pub max_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trust_ids: true,
            propagation: Propagation::default(),
            trust_priority: true,
            default_timeout: Duration::from_secs(30),
            max_timeout: Duration::from_secs(3600),
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if self.max_timeout.is_zero() {
            findings.reject("max_timeout", "more than no time");
        } else if self.default_timeout > self.max_timeout {
            let expected = format!("at most `request.max_timeout` ({}); `0s` for none", self.max_timeout);
            findings.reject("default_timeout", expected);
        }
    }
}

/// Layer of [`Context`].
#[derive(Debug, Clone)]
pub struct ContextLayer {
    shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
struct Shared {
    config: Config,
    ambient: Ambient,
}

impl ContextLayer {
    /// With this configuration, for a program that no host runs: nothing ever drains.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { shared: Arc::new(Shared { config, ambient: Ambient::default() }) }
    }

    /// With what every request is given: the drain of the process, the client.
    #[must_use]
    pub fn with_ambient(mut self, ambient: Ambient) -> Self {
        Arc::make_mut(&mut self.shared).ambient = ambient;
        self
    }
}

impl Default for ContextLayer {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl<S> Layer<S> for ContextLayer {
    type Service = Context<S>;

    fn layer(&self, inner: S) -> Context<S> {
        Context { inner, shared: Arc::clone(&self.shared) }
    }
}

/// Middleware that gives each request its [`RequestContext`].
#[derive(Debug, Clone)]
pub struct Context<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B, R> Service<Request<B>> for Context<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let now = called_at();
        let (mut parts, refused) = read::read(request.method(), request.headers(), &self.shared, now);
        Observation::begin(&mut parts, &request, now);
        let context = RequestContext::from(parts);
        Observation::enter(&context);
        if let Some(error) = refused {
            let protocol = context.protocol().unwrap_or(Protocol::Http);
            return ResponseFuture::answered(error.answer(protocol, &context), context);
        }
        let mut context = Some(context);
        let (calling, entered) = (Calling::at(now), Entered::new(&mut context));
        let is_head = *request.method() == Method::HEAD;
        let inner = self.inner.call(request);
        drop((entered, calling));
        ResponseFuture::new(inner, context, is_head)
    }
}

#[cfg(test)]
mod tests;
