//! The order of the standard stack, outermost first. The only place that knows it.
//!
//! | layer | why here |
//! |---|---|
//! | [`context`] | ids, deadline and criticality are known to all below, and to every answer; measures and records |
//! | [`recover`] | nothing escapes; its 500 carries the ids that `context` made |
//! | [`problem`] | what axum answers by itself is a problem document like all else |
//! | [`deadline`] | all below may rely on it |
//! | [`shed`] | cheap refusal before costly work |
//! | [`body_limit`] | before bytes are read |
//! | the service's own layers and routes | the user's code; [`route`] is around each route, for what `context` measures and records |
//!
//! Before it, in the server: bounds on connections, TLS, protocol detection, bounds on headers.

use std::{convert::Infallible, pin::Pin};

use axum::{Router, routing::future::RouteFuture};
use mainstay_core::{
    context::Ambient,
    middleware::{body_limit, context, deadline, problem, recover, route, shed},
};
use tower::{Layer, util::MapFuture};

use crate::Settings;

/// The routes of a service in the standard stack.
pub(crate) type Standard = context::Context<
    recover::Recover<problem::Problems<deadline::Deadline<shed::Shed<body_limit::BodyLimit<Routes>>>>>,
>;

/// The router with its future boxed. That is 320 bytes, which each layer, the server and hyper would move on, twice and
/// more; one allocation is cheaper.
type Routes = MapFuture<Router, fn(RouteFuture<Infallible>) -> Boxed>;
type Boxed = Pin<Box<RouteFuture<Infallible>>>;

/// What all stacks of a host share, and what each is made of.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    ambient: Ambient,
    settings: Settings,
    panics: recover::Panics,
    limiter: shed::Limiter,
}

impl Stack {
    /// A stack of its own for each service: one that is overloaded does not shed the others' requests.
    pub(crate) fn new(settings: &Settings, ambient: Ambient, panics: recover::Panics) -> Self {
        let limiter = shed::Limiter::new(settings.shed);
        Self { ambient, settings: settings.clone(), panics, limiter }
    }

    /// The adaptive limit of this stack.
    pub(crate) fn limiter(&self) -> &shed::Limiter {
        &self.limiter
    }

    /// Puts `routes` into the stack.
    pub(crate) fn wrap(&self, routes: Router) -> Standard {
        // A router without routes can't have layers on them.
        let routes = if routes.has_routes() { routes.route_layer(route::RouteLayer::new()) } else { routes };
        let layers = (
            context::ContextLayer::new(self.settings.request).with_ambient(self.ambient.clone()),
            recover::RecoverLayer::new(self.panics.clone()),
            problem::ProblemLayer::new(),
            deadline::DeadlineLayer::new(),
            shed::ShedLayer::new(self.limiter.clone()),
            body_limit::BodyLimitLayer::overridable(self.settings.body.max_bytes.get()),
        );
        let boxed: fn(_) -> _ = Box::pin;
        layers.layer(MapFuture::new(routes.with_state(()), boxed))
    }
}

/// One gRPC service: gRPC-Web is translated right at it, so that the stack sees what the caller speaks. gRPC bounds
/// each message (tonic: 4 MiB), and a stream of them may go on for ever: the bound on bodies is lifted.
#[cfg(feature = "grpc")]
pub(crate) fn grpc<S: crate::GrpcService>(service: S) -> body_limit::BodyLimit<tonic_web::GrpcWebService<S>> {
    (body_limit::BodyLimitLayer::new(u64::MAX), tonic_web::GrpcWebLayer::new()).layer(service)
}
