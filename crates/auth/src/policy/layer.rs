//! The layer that lets through what a policy permits.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams};
use http::{Method, Request, Response, request::Parts};
use mainstay_core::{
    Result,
    context::RequestContext,
    error::{Error, Kind, Protocol},
    middleware::FromBody,
};
use tower_layer::Layer;
use tower_service::Service;

use super::{Policies, Resource};
use crate::{
    Principal,
    authorize::{ResponseFuture, refuse},
};

/// Layer of [`Guard`], for a route, a router, or a tonic service.
#[derive(Debug, Clone)]
pub struct PolicyLayer(Arc<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    policies: Policies,
    action: Option<String>,
    on: On,
}

/// Where the resource comes from.
#[derive(Debug, Clone)]
enum On {
    Fixed(Resource),
    Path { kind: String, parameter: String },
}

impl PolicyLayer {
    /// Lets through who may do something to the service of this name: `resource == Service::"orders"`.
    ///
    /// The action is the method and the route (`GET /orders/{id}`, also for HEAD), or the gRPC method (`shop.Orders/Place`).
    #[must_use]
    pub fn new(policies: Policies, service: impl Into<String>) -> Self {
        let on = On::Fixed(Resource::new("Service", service));
        Self(Arc::new(Rule { policies, action: None, on }))
    }

    /// Asks for this action instead.
    #[must_use]
    pub fn with_action(mut self, action: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).action = Some(action.into());
        self
    }

    /// Asks for this resource instead.
    #[must_use]
    pub fn on(mut self, resource: Resource) -> Self {
        Arc::make_mut(&mut self.0).on = On::Fixed(resource);
        self
    }

    /// Asks for the resource of this type whose id is that parameter of the path, decoded: `.on_path("Order", "id")` on
    /// `/orders/{id}`. Only its id is known here: where a policy looks at its attributes, ask from the handler.
    #[must_use]
    pub fn on_path(mut self, kind: impl Into<String>, parameter: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).on = On::Path { kind: kind.into(), parameter: parameter.into() };
        self
    }
}

impl<S> Layer<S> for PolicyLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, rule: self.0.clone() }
    }
}

/// Middleware that lets through what a policy permits.
#[derive(Debug, Clone)]
pub struct Guard<S> {
    inner: S,
    rule: Arc<Rule>,
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: FromBody,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Nothing is permitted to nobody, also where the process serves everybody.
        let Some(principal) = request.extensions().get::<Principal>().cloned() else {
            return ResponseFuture::answered(refuse(&request));
        };
        let protocol = Protocol::of_request(&request);
        let (mut parts, body) = request.into_parts();
        match self.rule.check(&principal, &mut parts, protocol) {
            Ok(()) => ResponseFuture::called(self.inner.call(Request::from_parts(parts, body))),
            Err(error) => {
                let context = RequestContext::current().unwrap_or_default();
                ResponseFuture::answered(error.answer(protocol, &context))
            }
        }
    }
}

/// A service that tonic generated stays one.
#[cfg(feature = "grpc")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for Guard<S> {
    const NAME: &'static str = S::NAME;
}

impl Rule {
    fn check(&self, principal: &Principal, parts: &mut Parts, protocol: Protocol) -> Result<()> {
        let of_path;
        let resource = match &self.on {
            On::Fixed(resource) => resource,
            On::Path { kind, parameter } => {
                let id = path_parameter(parts, parameter).ok_or_else(|| {
                    let what =
                        format!("a policy wants `{{{parameter}}}` of a path that has none, or no text there");
                    Error::new(Kind::PermissionDenied).with_source(what)
                })?;
                of_path = Resource::new(kind, id);
                &of_path
            }
        };
        match &self.action {
            Some(action) => self.policies.check(principal, action, resource),
            None => self.policies.check(principal, &action(parts, protocol), resource),
        }
    }
}

/// What the request wants to do. What no route answers has no route, which is an action of no schema.
fn action(parts: &Parts, protocol: Protocol) -> String {
    if protocol.is_grpc() {
        return parts.uri.path().trim_start_matches('/').to_owned();
    }
    // HEAD is GET without the body (RFC 9110 section 9.3.2), and is answered by its handler.
    let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // What axum calls the rest of a nested service is its own affair.
    format!("{method} {}", route.replace("__private__axum_nest_tail_param", "rest"))
}

/// What the router found there, decoded.
fn path_parameter(parts: &mut Parts, name: &str) -> Option<String> {
    let mut cx = Context::from_waker(Waker::noop());
    // It waits for nothing.
    let Poll::Ready(Ok(found)) = pin!(RawPathParams::from_request_parts(parts, &())).poll(&mut cx) else {
        return None;
    };
    // Of a nested router last: names that are there twice mean the innermost.
    found.iter().filter(|(known, _)| *known == name).last().map(|(_, value)| value.to_owned())
}
