//! A service: a name, what it answers, and what runs beside it.

mod context;

use std::{fmt, sync::Arc};

use axum::Router;
use mainstay_core::{
    Result,
    config::{Section, Tree},
    health::Check,
    lifecycle::{Component, DynComponent},
    middleware::cors::CorsLayer,
};

pub use context::ServiceContext;
pub(crate) use context::place;

/// A service, as a value: a name, an axum [`Router`] and gRPC services on the same port, and components that start
/// before it answers and stop after it is drained.
///
/// ```
/// use mainstay::{Service, axum::{Router, routing::get}};
///
/// let hello = Service::new("hello").http(Router::new().route("/hello", get(async || "hello")));
/// assert_eq!(hello.name(), "hello");
/// ```
pub struct Service {
    name: String,
    config: Option<Tree>,
    make: Make,
}

enum Make {
    Now(Parts),
    InContext(InContext),
}

type InContext = Box<dyn FnOnce(&ServiceContext) -> Result<Service> + Send>;

/// What a service consists of, once it is made.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) routes: Routes,
    pub(crate) cors: Option<Box<CorsLayer>>,
    pub(crate) components: Vec<DynComponent>,
    pub(crate) checks: Vec<Check>,
    #[cfg(feature = "grpc")]
    pub(crate) grpc: crate::grpc::Mounted,
    #[cfg(feature = "openapi")]
    pub(crate) interface: crate::interface::Given,
    #[cfg(feature = "telemetry")]
    pub(crate) slos: Vec<(String, mainstay_telemetry::slo::Slo)>,
}

/// The routes of a service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    /// For who has a valid token, where tokens are asked for at all.
    pub(crate) closed: Router,
    /// For everybody.
    pub(crate) public: Router,
}

impl Routes {
    #[track_caller]
    fn close(&mut self, router: Router) {
        self.closed = std::mem::take(&mut self.closed).merge(router);
        // So that a route that is in both is a panic here, where the caller's line is known.
        drop(self.all());
    }

    #[track_caller]
    fn publish(&mut self, router: Router) {
        self.public = std::mem::take(&mut self.public).merge(router);
        drop(self.all());
    }

    /// With the routes of `other`.
    #[cfg(any(feature = "auth", feature = "grpc"))]
    pub(crate) fn with(self, other: Self) -> Self {
        Self { closed: self.closed.merge(other.closed), public: self.public.merge(other.public) }
    }

    /// As one router.
    #[track_caller]
    pub(crate) fn all(&self) -> Router {
        self.public.clone().merge(self.closed.clone())
    }
}

impl Service {
    /// A service that answers nothing yet. The name is the one other services call it by: lower-case letters, digits
    /// and hyphens.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), config: None, make: Make::Now(Parts::default()) }
    }

    /// A service that needs the client to be made; handlers alone can take a [`Client`](crate::Client) as an argument.
    ///
    /// `make` runs after the configuration was read and before a socket opens, so it must not wait for anything: what
    /// waits (a database, say) is a component. The service that it returns keeps the name given here.
    ///
    /// ```
    /// use mainstay::{Result, Service, ServiceContext, axum::{Router, routing::get}};
    ///
    /// fn front(context: &ServiceContext) -> Result<Service> {
    ///     let client = context.client().clone();
    ///     let greet = async move || -> Result<String> { Ok(client.get("http://greeter/").send().await?.text().await?) };
    ///     let routes = Router::new().route("/", get(greet));
    ///     Ok(context.service().http(routes))
    /// }
    ///
    /// let service = Service::from_fn("front", front);
    /// ```
    pub fn from_fn(
        name: impl Into<String>,
        make: impl FnOnce(&ServiceContext) -> Result<Service> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), config: None, make: Make::InContext(Box::new(make)) }
    }

    /// A service with a configuration of its own, the table `app.NAME`: read, checked and reported with everything
    /// else, before `make` runs. As [`Service::from_fn`] otherwise.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use mainstay::{Result, Service, ServiceContext, axum::{Router, routing::get}, config::Section};
    ///
    /// #[derive(Default, serde::Deserialize, serde::Serialize)]
    /// #[serde(default, deny_unknown_fields)]
    /// struct Config {
    ///     greeting: String,
    /// }
    ///
    /// impl Section for Config {}
    ///
    /// fn greeter(config: Arc<Config>, context: &ServiceContext) -> Result<Service> {
    ///     Ok(context.service().http(Router::new().route("/", get(async move || config.greeting.clone()))))
    /// }
    ///
    /// let service = Service::configured("greeter", greeter);
    /// ```
    pub fn configured<T: Section>(
        name: impl Into<String>,
        make: impl FnOnce(Arc<T>, &ServiceContext) -> Result<Service> + Send + 'static,
    ) -> Self {
        let config = Some(Tree::of::<T>());
        let make = move |context: &ServiceContext| {
            let config = context.loaded.get::<T>(&place(context.name()));
            make(config, context)
        };
        Self { name: name.into(), config, make: Make::InContext(Box::new(make)) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Answers HTTP with `router`, in addition to what it has; an existing router nests unchanged.
    ///
    /// With the feature `auth` its routes are closed: who has no valid token gets 401, also where the router has no route, or
    /// not this method. [`public_http`](Self::public_http) is for everybody. See `docs/auth.md`.
    ///
    /// # Panics
    /// When a route of `router` is there already, as [`Router::merge`] does.
    #[must_use]
    #[track_caller]
    pub fn http(mut self, router: Router) -> Self {
        // Not in a closure: the panic of a route that is there already names the caller's line.
        if let Make::Now(parts) = &mut self.make {
            parts.routes.close(router);
            return self;
        }
        self.with_parts(move |parts| parts.routes.close(router))
    }

    /// As [`http`](Self::http), for everybody: without a token too. Who brings one is known to the handler, and a bad one is
    /// refused here as well. A fallback of `router` answers what leads nowhere, for everybody.
    ///
    /// ```
    /// use mainstay::{Service, axum::{Router, routing::{get, post}}};
    ///
    /// let catalog = Service::new("catalog")
    ///     .public_http(Router::new().route("/products", get(async || "all of them")))
    ///     .http(Router::new().route("/products", post(async || "added")));
    /// ```
    ///
    /// # Panics
    /// As [`http`](Self::http).
    #[must_use]
    #[track_caller]
    pub fn public_http(mut self, router: Router) -> Self {
        if let Make::Now(parts) = &mut self.make {
            parts.routes.publish(router);
            return self;
        }
        self.with_parts(move |parts| parts.routes.publish(router))
    }

    /// Answers gRPC with a service generated by tonic, on the same port; gRPC-Web too. Its health is served under
    /// its full name. Closed as [`http`](Self::http) is; health is for everybody.
    #[cfg(feature = "grpc")]
    #[must_use]
    #[track_caller]
    pub fn grpc<S>(self, service: S) -> Self
    where
        S: crate::grpc::GrpcService,
    {
        self.with_parts(move |parts| {
            let routes = parts.grpc.mount(service);
            parts.routes.close(routes);
        })
    }

    /// As [`grpc`](Self::grpc), for everybody. Where some methods are not, the layer
    /// `mainstay::auth::Methods` closes them.
    #[cfg(feature = "grpc")]
    #[must_use]
    #[track_caller]
    pub fn public_grpc<S>(self, service: S) -> Self
    where
        S: crate::grpc::GrpcService,
    {
        self.with_parts(move |parts| {
            let routes = parts.grpc.mount(service);
            parts.routes.publish(routes);
        })
    }

    /// Describes the gRPC services to reflection clients such as grpcurl: an encoded `FileDescriptorSet`, as
    /// tonic's code generator writes it.
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn descriptors(self, set: &'static [u8]) -> Self {
        self.with_parts(move |parts| parts.grpc.describe(set))
    }

    /// Describes what it answers over HTTP: OpenAPI 3 from any tool, as utoipa's `OpenApi`, or a `serde_json::Value`. What
    /// the standard stack takes and answers is added: header fields, problem documents. Several descriptions are joined.
    ///
    /// Before anything starts the description is held against the routes: an operation that is in one of them only
    /// ends the start with an error that names it. It is shown on the admin listener, `/openapi/NAME`, and written by
    /// `--export-openapi DIRECTORY`.
    #[cfg(feature = "openapi")]
    #[must_use]
    pub fn openapi(self, description: impl serde::Serialize) -> Self {
        let description = crate::interface::Document::from_serialize(description);
        self.with_parts(move |parts| parts.interface.add(description))
    }

    /// Shows the description to everybody too, at this path of its own; it is not part of the description.
    #[cfg(feature = "openapi")]
    #[must_use]
    pub fn public_openapi(self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.with_parts(move |parts| parts.interface.publish(path))
    }

    /// Adds a check of health, which counts for the whole process. While a readiness check fails, `/readyz` says so and
    /// the process is listed as failing in its registry: others call it only where they know no better one.
    #[must_use]
    pub fn check(self, check: Check) -> Self {
        self.with_parts(move |parts| parts.checks.push(check))
    }

    /// Runs `component` with the service: started before it answers, stopped after it is drained.
    #[must_use]
    pub fn component(self, component: impl Component) -> Self {
        self.with_parts(move |parts| parts.components.push(DynComponent::new(component)))
    }

    /// Promises that so many requests go well. Rules, alerts and a dashboard are made of it: `mainstay export`. The table
    /// `slo.SERVICE.NAME` of the configuration goes before it.
    ///
    /// ```
    /// use mainstay::{Service, telemetry::slo::Slo};
    ///
    /// let orders = Service::new("orders").slo("placing", Slo::availability(99.9).with_route("/orders"));
    /// ```
    #[cfg(feature = "telemetry")]
    #[must_use]
    pub fn slo(self, name: impl Into<String>, slo: mainstay_telemetry::slo::Slo) -> Self {
        let name = name.into();
        self.with_parts(move |parts| parts.slos.push((name, slo)))
    }

    /// Wraps all routes that were added so far in a layer of the user's. It meets those requests only that may pass.
    #[must_use]
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: tower::Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        L::Service: tower::Service<axum::extract::Request, Error: Into<std::convert::Infallible> + 'static>
            + Clone
            + Send
            + Sync
            + 'static,
        <L::Service as tower::Service<axum::extract::Request>>::Response:
            axum::response::IntoResponse + 'static,
        <L::Service as tower::Service<axum::extract::Request>>::Future: Send + 'static,
    {
        self.with_parts(move |parts| {
            let Routes { closed, public } = std::mem::take(&mut parts.routes);
            parts.routes = Routes { closed: closed.layer(layer.clone()), public: public.layer(layer) };
        })
    }

    /// Lets scripts of other origins call. It stands outside of authentication: a preflight has no token, and a script may read
    /// a 401 too.
    ///
    /// ```
    /// use mainstay::{Service, axum::{Router, routing::get}, middleware::cors::{Config, CorsLayer}};
    ///
    /// let mut config = Config::default();
    /// config.origins = vec!["https://shop.example".to_owned()];
    /// let orders = Service::new("orders")
    ///     .http(Router::new().route("/orders", get(async || "all of them")))
    ///     .cors(CorsLayer::new(&config)?);
    /// # Ok::<(), mainstay::middleware::cors::Invalid>(())
    /// ```
    #[must_use]
    pub fn cors(self, layer: CorsLayer) -> Self {
        self.with_parts(move |parts| parts.cors = Some(Box::new(layer)))
    }

    /// The tree of its configuration.
    pub(crate) fn config(&self) -> Option<&Tree> {
        self.config.as_ref()
    }

    /// Makes the service in its context.
    pub(crate) fn into_parts(self, context: &ServiceContext) -> Result<Parts> {
        let mut service = self;
        loop {
            match service.make {
                Make::Now(parts) => return Ok(parts),
                Make::InContext(make) => service = make(context)?,
            }
        }
    }

    /// Changes the parts, now or once they are made.
    #[track_caller]
    fn with_parts(self, change: impl FnOnce(&mut Parts) + Send + 'static) -> Self {
        let make = match self.make {
            Make::Now(mut parts) => {
                change(&mut parts);
                Make::Now(parts)
            }
            Make::InContext(make) => {
                Make::InContext(Box::new(move |context| Ok(make(context)?.with_parts(change))))
            }
        };
        Self { name: self.name, config: self.config, make }
    }
}

#[cfg(feature = "openapi")]
impl Parts {
    /// The description of the service `name`, held against its routes; shown to everybody where it was told so.
    pub(crate) fn describe(
        &mut self,
        name: &str,
    ) -> Result<Option<crate::interface::Document>, crate::HostError> {
        let given = std::mem::take(&mut self.interface);
        let all = self.routes.all();
        given
            .complete(name, &all, &mut self.routes.public)
            .map_err(|cause| crate::HostError::Interface { service: name.to_owned(), cause })
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}
