//! The client itself.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Method, Request, Response, Uri};
use mainstay_core::{
    Body,
    context::{Deadline, PassedOn, RequestContext},
    credentials::Credentials,
    metrics::Observations,
    observe,
    task::{StillRunning, Tasks},
};
use mainstay_discovery::{Resolve, ServiceName};

use crate::{
    Config, Locals, RequestBuilder,
    balance::Origin,
    call::Call,
    check,
    credentials::{self, Kept},
    error::Error,
    outgoing,
    pool::Settings,
    retry::Repeat,
    state,
    target::{Policy, Target},
    warm,
};

/// Calls services by their logical name. Made once; cloning is cheap and shares everything.
///
/// The host of a URL is the name of a service, resolved by what the client was made with: `http://inventory/items/7`.
/// Host names with dots, IP addresses, ports and `https` are refused: where a service is, and how it is reached, is
/// said in one place, [`discovery.static`](mainstay_discovery::fixed) or a registry, and not in URLs. So a URL that came
/// from outside can't make this client call anywhere else.
///
/// In a handler, the deadline, the trace, the request id and the criticality of the request that is being handled go
/// with each call ([`RequestContext::current`]).
///
/// Handlers of axum can take it as an argument, where the host put it into what it gives to requests
/// ([`Ambient`](mainstay_core::context::Ambient)).
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    credentials: Option<Arc<dyn Credentials>>,
}

pub(crate) struct Inner {
    pub(crate) resolver: Box<dyn Resolve>,
    pub(crate) locals: Locals,
    /// The owner of the tasks that drive connections.
    pub(crate) tasks: Tasks,
    config: ArcSwap<Config>,
    origin: Origin,
    observer: Option<observe::Client>,
    /// Held while targets or what holds for them changes.
    changing: Mutex<()>,
    targets: ArcSwap<HashMap<ServiceName, Arc<Target>>>,
}

/// Makes a [`Client`].
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    config: Config,
    locals: Locals,
    origin: Origin,
    observer: Option<observe::Client>,
}

impl Client {
    /// With the default configuration and no services of this process.
    #[must_use]
    pub fn new(resolver: impl Resolve) -> Self {
        Self::builder().build(resolver)
    }

    /// With other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A GET of `url`.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A POST to `url`.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT to `url`.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A PATCH of `url`.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A DELETE of `url`.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A request with `method` to `url`.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url.as_ref())
    }

    /// Sends `request` to the service that its URI names; bodies stream both ways. For proxies, and for what the
    /// builder has no words for. The caller has removed the headers that are for one hop only (RFC 9110 section
    /// 7.6.1); extensions of the request are not passed on. [`Repeat`] among them says whether it may be sent again.
    ///
    /// An answer is given as it is, whatever its status.
    ///
    /// # Errors
    /// An [`Error`] where there is no answer. It names the service, and the endpoint where there was one.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future ends the call: an HTTP/1.1 connection is closed, an HTTP/2 stream is reset, a call in
    /// process is dropped. Dropping the body of the answer before its end does the same.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let target = self.target(service_of(request.uri())?).await?;
        let policy = target.policy();
        Ok(self.send_to(&target, &policy, request).await?.0)
    }

    /// With the deadline of the call.
    pub(crate) async fn send_to(
        &self,
        target: &Arc<Target>,
        policy: &Policy,
        request: Request<Body>,
    ) -> Result<(Response<Body>, Deadline), Error> {
        let (mut parts, body) = request.into_parts();
        let context = RequestContext::current();
        let deadline = outgoing::deadline(context.as_ref(), &parts.headers, policy.config.timeout.get());
        outgoing::propagate(context.as_ref(), &mut parts.headers);
        let repeat = Repeat::of(&parts, &policy.config.retry);
        let key = policy.key(&parts.headers, &parts.extensions);
        if policy.config.pool.min_idle > 0 {
            warm::called(target, policy, outgoing::is_grpc(&parts.headers));
        }
        if let Some(check) = &policy.config.balance.health_check {
            check::begin_if_due(target, check, &policy.pool);
        }
        let is_ours = parts.extensions.get::<PassedOn>().is_none();
        parts.extensions.clear();
        let before = context.map_or(0, |context| context.attempt());
        let call = |before| Call::new(&self.inner, target, policy, before, deadline, repeat, key);
        let source = self.credentials.as_ref().filter(|_| is_ours);
        let Some(shown) = credentials::put(source, target, &mut parts.headers, deadline).await? else {
            return Ok((call(before).run(parts, body).await?, deadline));
        };
        let retry = &policy.config.retry;
        let may_repeat = repeat == Some(Repeat::Idempotent) && retry.max_attempts > 1 && retry.budget > 0.0;
        let (kept, body) =
            if may_repeat { Kept::of(&parts, body, retry.max_body.as_usize()) } else { (None, body) };
        let mut answer = call(before).run(parts, body).await?;
        // The token goes, whether or not this call is made again.
        if shown.is_outdated(target, &answer)
            && let Some(kept) = kept
        {
            answer = match kept.again(target, deadline, answer).await {
                Err(answer) => answer,
                Ok((mut parts, body)) => {
                    credentials::put(source, target, &mut parts.headers, deadline).await?;
                    Box::pin(call(before.saturating_add(1)).run(parts, body)).await?
                }
            };
        }
        Ok((answer, deadline))
    }

    /// The same client, with its connections and what it knows, whose calls show what `credentials` has for them. For the
    /// services of one process that are known by different ones.
    #[must_use]
    pub fn with_credentials(mut self, credentials: impl Credentials) -> Self {
        self.credentials = Some(Arc::new(credentials));
        self
    }

    /// Makes `service` known ahead of its first call: its name is resolved, and where `client.pool.min_idle` says so
    /// connections to its endpoints are opened, in the version that each endpoint is listed with. They are not waited for.
    ///
    /// # Errors
    /// [`Error::Invalid`] where that is no name of a service, [`Error::NoEndpoint`] where it has no endpoint within
    /// `client.pool.connect_timeout`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn warm_up(&self, service: impl AsRef<str>) -> Result<(), Error> {
        let target = self.target(service.as_ref()).await?;
        let policy = target.policy();
        if policy.config.pool.min_idle > 0 {
            warm::begin(&target, &policy);
        }
        Ok(())
    }

    /// A channel for the clients that tonic generates: `InventoryClient::new(client.channel("inventory"))`.
    #[cfg(feature = "grpc")]
    pub fn channel(&self, service: impl AsRef<str>) -> crate::grpc::Channel {
        crate::grpc::Channel::new(self.clone(), service.as_ref())
    }

    /// How it is configured.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.inner.config.load_full()
    }

    /// Makes the calls that begin from now on as `config` says. Connections and what is known of endpoints stay.
    pub fn reconfigure(&self, config: Config) {
        let _changing = self.inner.changing();
        for target in self.inner.targets.load().values() {
            target.set_policy(self.inner.policy(&config, &target.service));
        }
        self.inner.config.store(Arc::new(config));
    }

    /// What is known of the services that were called so far, by name.
    #[must_use]
    pub fn targets(&self) -> Vec<state::Service> {
        let targets = self.inner.targets.load();
        let mut services: Vec<_> = targets.values().map(|target| state::Service::of(target)).collect();
        services.sort_by(|one, other| one.balance.service.cmp(&other.balance.service));
        services
    }

    /// Tells the metrics of the services that were called so far (`mainstay.client.*`), for
    /// [`Registry::observe`](mainstay_core::metrics::Registry::observe).
    pub fn observe(&self, to: &mut Observations) {
        self.targets().iter().for_each(|service| service.observe(to));
    }

    /// The services of this process that it calls as functions.
    #[must_use]
    pub fn locals(&self) -> &Locals {
        &self.inner.locals
    }

    /// Closes the connections that are not in use, and waits for the others, at most `bound`. Calls over the wire can
    /// still be made afterwards; their HTTP/1.1 connections are not kept. The services of this process are taken out of
    /// [`Client::locals`]: they often hold this client, and would keep each other alive.
    ///
    /// # Errors
    /// [`StillRunning`] when requests are still under way.
    ///
    /// # Cancel safety
    /// Dropping it leaves what is under way to end by itself.
    pub async fn close(&self, bound: Duration) -> Result<(), StillRunning> {
        {
            let _changing = self.inner.changing();
            self.inner.targets.store(Arc::default());
        }
        self.inner.locals.clear();
        self.inner.tasks.stop(bound).await
    }

    /// The first call to a service waits until the registry has answered, for `client.pool.connect_timeout` at most.
    pub(crate) async fn target(&self, name: &str) -> Result<Arc<Target>, Error> {
        if let Some(target) = self.inner.targets.load().get(name) {
            return Ok(target.clone());
        }
        let service =
            ServiceName::new(name).map_err(|error| Error::invalid(format_args!("http://{name}"), error))?;
        let watch = self.inner.resolver.resolve(&service);
        if !watch.is_settled() {
            // Without an answer the name has no endpoints for now.
            let bound = self.inner.config.load().for_service(&service).pool.connect_timeout.get();
            let _ = tokio::time::timeout(bound, watch.settled()).await;
        }
        if watch.snapshot().is_empty() {
            // Not kept: names that lead nowhere must not take room.
            return Err(Error::no_endpoint(&service, self.inner.resolver.known()));
        }
        let _changing = self.inner.changing();
        let mut targets = HashMap::clone(&self.inner.targets.load());
        // Another call may have been first: its measurements count.
        if let Some(target) = targets.get(name) {
            return Ok(target.clone());
        }
        let policy = self.inner.policy(&self.inner.config.load(), &service);
        let peer = self.inner.observer.as_ref().map(|observer| observer.peer(service.as_str()));
        let target = Arc::new(Target::new(service.clone(), watch, self.inner.origin.clone(), policy, peer));
        targets.insert(service, target.clone());
        self.inner.targets.store(Arc::new(targets));
        Ok(target)
    }
}

impl Inner {
    fn policy(&self, config: &Config, service: &ServiceName) -> Policy {
        let config = config.for_service(service);
        let pool = Arc::new(Settings::new(config.pool.clone(), &config.tls, self.tasks.clone()));
        Policy { config, pool }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Builder {
    /// With this configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// With the services of this process.
    pub fn locals(mut self, locals: Locals) -> Self {
        self.locals = locals;
        self
    }

    /// In this zone: endpoints there are preferred (`client.balance.prefer_zone`). Default: none, all are alike.
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.origin = self.origin.with_zone(zone);
        self
    }

    /// With this name among all clients, such as that of the host or the pod; its subset of the endpoints
    /// (`client.balance.subset`) depends on it. Default: another one at each start.
    pub fn id(mut self, id: impl AsRef<str>) -> Self {
        self.origin = self.origin.with_id(id);
        self
    }

    /// With what measures and records its calls. Default: nothing does.
    pub fn observer(mut self, observer: observe::Client) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The client; `resolver` says where services are.
    #[must_use]
    pub fn build(self, resolver: impl Resolve) -> Client {
        let Self { config, locals, origin, observer } = self;
        let inner = Arc::new(Inner {
            resolver: Box::new(resolver),
            locals,
            tasks: Tasks::new(),
            config: ArcSwap::from_pointee(config),
            origin,
            observer,
            changing: Mutex::new(()),
            targets: ArcSwap::default(),
        });
        Client { inner, credentials: None }
    }
}

/// The name of the service in a URL.
pub(crate) fn service_of(url: &Uri) -> Result<&str, Error> {
    let invalid = |reason: &str| Err(Error::invalid(url, reason));
    match url.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return invalid(
                "URLs name services, as in `http://inventory/items`; whether TLS is spoken to one is said where its \
                 endpoints are",
            );
        }
        _ => return invalid("expected `http://` and the name of a service"),
    }
    let Some(authority) = url.authority() else {
        return invalid("expected the name of a service after `http://`");
    };
    let name = authority.as_str();
    if name.contains(['.', ':', '[', '@']) {
        return invalid(
            "URLs name services, not hosts or ports: give the service a name and list its address under \
             `discovery.static`, such as inventory = [\"http://127.0.0.1:8081\"]",
        );
    }
    Ok(name)
}

/// Future of a call.
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>);

impl tower_service::Service<Request<Body>> for Client {
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    /// Always ready: which endpoint is called, and whether one can be, is known with the request only.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        let client = self.clone();
        ResponseFuture(Box::pin(async move { client.send(request).await }))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.inner.config.load())
            .field("known", &self.inner.resolver.known())
            .field("locals", &self.inner.locals)
            .field("has_credentials", &self.credentials.is_some())
            .finish_non_exhaustive()
    }
}

/// The client of the host, in axum handlers.
impl<S: Sync> axum::extract::FromRequestParts<S> for Client {
    type Rejection = mainstay_core::Error;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        let of = |context: &RequestContext| context.ambient().get::<Self>().cloned();
        let given = parts.extensions.get::<RequestContext>().and_then(of);
        let given = given.or_else(|| RequestContext::current().as_ref().and_then(of));
        given.or_else(|| parts.extensions.get::<Self>().cloned()).ok_or_else(|| {
            let detail = "the handler asks for a client, but no host and no extension gives it one";
            mainstay_core::Error::new(mainstay_core::error::Kind::Internal).with_detail(detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_services_and_nothing_else() {
        for good in ["http://inventory", "http://inventory/items/7?x=http://y"] {
            assert_eq!(service_of(&good.parse().unwrap()).unwrap(), "inventory");
        }
        let bad = [
            "http://127.0.0.1:8081/",
            "http://example.com/",
            "http://[::1]/",
            "http://inventory:80/",
            "http://u@inventory/",
            "https://inventory/",
            "ftp://inventory/",
            "/items",
        ];
        for bad in bad {
            assert!(matches!(service_of(&bad.parse().unwrap()), Err(Error::Invalid(_))), "{bad}");
        }
    }
}
