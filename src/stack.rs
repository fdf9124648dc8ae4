//! The order of the standard stack, outermost first. The only place that knows it.
//!
//! | layer | why here |
//! |---|---|
//! | [`context`] | ids, deadline and criticality are known to all below, and to every answer; measures and records |
//! | [`recover`] | nothing escapes; its 500 carries the ids that `context` made |
//! | [`problem`] | what axum answers by itself is a problem document like all else |
//! | [`deadline`] | all below may rely on it |
//! | [`shed`] | cheap refusal before costly work |
//! | [`cors`](mainstay_core::middleware::cors), if the service has it | a preflight has no token |
//! | [`authenticate`](mainstay_auth::authenticate) | who calls; a bad token ends here |
//! | [`body_limit`] | before bytes are read |
//! | [`Guarded`](mainstay_auth::authorize::Guarded) | may they: closed routes are not there for who is not known |
//! | the service's own layers and routes | the user's code; [`route`] is around each route, for what `context` measures and records |
//!
//! Before it, in the server: bounds on connections, TLS, protocol detection, bounds on headers.

use std::pin::Pin;

use axum::Router;
#[cfg(feature = "auth")]
use mainstay_auth::{
    AuthenticateLayer, Verifier,
    authenticate::Authenticate,
    authorize::{Guarded, RoutesFuture},
};
use mainstay_core::{
    context::Ambient,
    middleware::{body_limit, context, cors::CorsLayer, deadline, problem, recover, route, shed},
};
#[cfg(feature = "auth")]
use tower::util::{Either, option_layer};
use tower::{Layer, util::MapFuture};

use crate::{Settings, service::Routes};

/// The routes of a service in the standard stack.
pub(crate) type Standard = context::Context<
    recover::Recover<
        problem::Problems<deadline::Deadline<shed::Shed<Known<body_limit::BodyLimit<Boxed<Routed>>>>>>,
    >,
>;

/// Who calls is known, where somebody has to be.
#[cfg(feature = "auth")]
type Known<S> = Either<Authenticate<S>, S>;
#[cfg(not(feature = "auth"))]
type Known<S> = S;

#[cfg(feature = "auth")]
type Routed = Guarded;
#[cfg(not(feature = "auth"))]
type Routed = Router;
#[cfg(not(feature = "auth"))]
type RoutesFuture = axum::routing::future::RouteFuture<std::convert::Infallible>;

/// The routes with their future boxed. That is 320 bytes, which each layer, the server and hyper would move on, twice and
/// more; one allocation is cheaper.
type Boxed<S> = MapFuture<S, fn(RoutesFuture) -> Pin<Box<RoutesFuture>>>;

/// What all stacks of a host share, and what each is made of.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    ambient: Ambient,
    settings: Settings,
    panics: recover::Panics,
    limiter: shed::Limiter,
    /// `None`: everybody is served.
    #[cfg(feature = "auth")]
    verifier: Option<Verifier>,
}

impl Stack {
    /// A stack of its own for each service: one that is overloaded does not shed the others' requests.
    pub(crate) fn new(settings: &Settings, ambient: Ambient, panics: recover::Panics) -> Self {
        let limiter = shed::Limiter::new(settings.shed);
        Self {
            ambient,
            settings: settings.clone(),
            panics,
            limiter,
            #[cfg(feature = "auth")]
            verifier: None,
        }
    }

    /// With what tells who calls.
    #[cfg(feature = "auth")]
    pub(crate) fn with_verifier(self, verifier: Option<Verifier>) -> Self {
        Self { verifier, ..self }
    }

    /// The adaptive limit of this stack.
    pub(crate) fn limiter(&self) -> &shed::Limiter {
        &self.limiter
    }

    /// Puts `routes` into the stack, behind `cors` where other origins may call.
    pub(crate) fn wrap(&self, routes: Routes, cors: Option<CorsLayer>) -> Standard {
        let inner = Inner::new(self, routes).behind(cors);
        let layers = (
            context::ContextLayer::new(self.settings.request).with_ambient(self.ambient.clone()),
            recover::RecoverLayer::new(self.panics.clone()),
            problem::ProblemLayer::new(),
            deadline::DeadlineLayer::new(),
            shed::ShedLayer::new(self.limiter.clone()),
            #[cfg(feature = "auth")]
            option_layer(inner.authenticate),
            body_limit::BodyLimitLayer::overridable(self.settings.body.max_bytes.get()),
        );
        let boxed: fn(_) -> _ = Box::pin;
        layers.layer(MapFuture::new(inner.routes, boxed))
    }
}

/// Who calls, and where to.
struct Inner {
    #[cfg(feature = "auth")]
    authenticate: Option<AuthenticateLayer>,
    routes: Routed,
}

impl Inner {
    #[cfg(feature = "auth")]
    fn new(stack: &Stack, routes: Routes) -> Self {
        let authenticate = stack.verifier.clone().map(|verifier| AuthenticateLayer::new(verifier).optional());
        let guarded = match &authenticate {
            Some(_) => Guarded::new(routes.closed, routes.public),
            None => Guarded::open(routes.all()),
        };
        Self { authenticate, routes: guarded.map(told) }
    }

    #[cfg(not(feature = "auth"))]
    #[expect(clippy::needless_pass_by_value, reason = "with the feature `auth` they are consumed")]
    fn new(_: &Stack, routes: Routes) -> Self {
        Self { routes: told(routes.all()) }
    }

    /// All of it within `cors`: a preflight has no token, and a 401 is for scripts to read too. As the fallback of a router,
    /// so that those who don't need it carry no larger futures.
    fn behind(self, cors: Option<CorsLayer>) -> Self {
        let Some(cors) = cors else { return self };
        #[cfg(feature = "auth")]
        let inner = option_layer(self.authenticate).layer(self.routes);
        #[cfg(not(feature = "auth"))]
        let inner = self.routes;
        let routes = Router::new().fallback_service(inner).layer(cors).with_state(());
        #[cfg(feature = "auth")]
        return Self { authenticate: None, routes: Guarded::open(routes) };
        #[cfg(not(feature = "auth"))]
        Self { routes }
    }
}

/// `router`, which tells what route a request took.
fn told(router: Router) -> Router {
    // One without routes can't have layers on them.
    let router = if router.has_routes() { router.route_layer(route::RouteLayer::new()) } else { router };
    router.with_state(())
}

/// One gRPC service: gRPC-Web is translated right at it, so that the stack sees what the caller speaks. gRPC bounds
/// each message (tonic: 4 MiB), and a stream of them may go on for ever: the bound on bodies is lifted.
#[cfg(feature = "grpc")]
pub(crate) fn grpc<S: crate::GrpcService>(service: S) -> body_limit::BodyLimit<tonic_web::GrpcWebService<S>> {
    (body_limit::BodyLimitLayer::new(u64::MAX), tonic_web::GrpcWebLayer::new()).layer(service)
}
