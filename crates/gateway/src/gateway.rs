//! The gateway as a service: request in, answer of the routed service out.

use std::{convert::Infallible, fmt, net::SocketAddr, sync::Arc};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header, uri};
#[cfg(feature = "auth")]
use mainstay_auth::Require;
use mainstay_core::{
    Body, BoxError, Error,
    context::{Deadline, PassedOn, RequestContext},
    error::{Kind, Protocol},
    server::Connection,
};
use tower_service::Service;

#[cfg(feature = "auth")]
use crate::access::Access;
use crate::{
    access,
    config::{Config, Fault, Forwarded, Invalid},
    forward::{
        answer::{self, ProxyError},
        edge::{self, Caller},
        fields, identity,
        via::Via,
    },
    future::ResponseFuture,
    path,
    table::{NoRoute, Route, Table},
};

/// Sends each request to the service that its route names, and the answer back; bodies stream both ways.
///
/// `C` is the client: a `tower::Service<Request<Body>>` that takes requests for logical names,
/// `http://orders/orders/7`.
///
/// # Cancel safety
/// Dropping the future drops the call upstream.
pub struct Gateway<C> {
    shared: Arc<Shared>,
    client: C,
    /// Whether routes are closed to who is not known.
    #[cfg(feature = "auth")]
    is_guarded: bool,
}

pub(crate) struct Shared {
    table: Table,
    via: Via,
    forwarded: Forwarded,
    identity: identity::Names,
    removed: Vec<HeaderName>,
}

/// A request that was not sent on.
struct Refusal(Error, ProxyError, Option<Vec<Method>>);

/// What a request asks for.
enum Found {
    Route(Arc<Route>),
    /// The gateway as a whole.
    Itself,
}

/// What to do with a request.
enum Next {
    Forward(Arc<Route>),
    Answer(Response<Body>),
}

impl<C> Gateway<C> {
    /// A gateway with these routes, for all who reach it.
    ///
    /// # Errors
    /// All that is wrong with the configuration, two routes for the same requests included; and what only a guarded
    /// gateway heeds.
    pub fn new(config: &Config, client: C) -> Result<Self, Invalid> {
        let shared = Arc::new(Shared::new(config)?);
        let faults = access::unheeded(config);
        if !faults.is_empty() {
            return Err(Invalid { faults });
        }
        Ok(Self {
            shared,
            client,
            #[cfg(feature = "auth")]
            is_guarded: false,
        })
    }

    /// A gateway whose routes are closed but for those that are `public`: the others want a token that an
    /// [optional layer](mainstay_auth::AuthenticateLayer::optional) outside has found good, with the `scopes` of the route. What no route
    /// takes wants one too. In a host it is declared public, since it closes its routes itself.
    ///
    /// # Errors
    /// All that is wrong with the configuration, two routes for the same requests included.
    #[cfg(feature = "auth")]
    pub fn guarded(config: &Config, client: C) -> Result<Self, Invalid> {
        Ok(Self { shared: Arc::new(Shared::new(config)?), client, is_guarded: true })
    }

    /// As an axum router that sends everything through the gateway.
    pub fn into_router<S>(self) -> axum::Router<S>
    where
        S: Clone + Send + Sync + 'static,
        C: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
        C: Clone + Send + Sync + 'static,
        C::Future: Send,
    {
        axum::Router::new().fallback_service(self)
    }
}

impl<C> Service<Request<Body>> for Gateway<C>
where
    C: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<C>;

    /// Always ready: which client call has to be ready is known once the request is here, and waited for then.
    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let protocol = Protocol::of(request.headers());
        let found = self.shared.find(&request, protocol);
        #[cfg(feature = "auth")]
        if let Some(answer) = self.refusal(&request, found.as_ref().ok()) {
            return ResponseFuture::answer(answer.map(Body::new));
        }
        match found.and_then(|found| self.shared.prepare(&mut request, found, protocol)) {
            Ok(Next::Forward(route)) => ResponseFuture::forward(
                Arc::clone(&self.shared),
                route,
                self.client.clone(),
                request,
                protocol,
            ),
            Ok(Next::Answer(response)) => ResponseFuture::answer(response),
            Err(Refusal(error, why, allowed)) => {
                let context = context_of(request.extensions());
                let mut response = answer::refuse(error, why, self.shared.via.name(), protocol, &context);
                if let Some(allowed) = allowed {
                    answer::allow(response.headers_mut(), &allowed);
                }
                ResponseFuture::answer(response)
            }
        }
    }
}

#[cfg(feature = "auth")]
impl<C> Gateway<C> {
    /// What is answered to who may not take what was found; of what was not found nobody learns who is not known.
    fn refusal(
        &self,
        request: &Request<Body>,
        found: Option<&Found>,
    ) -> Option<Response<http_body_util::Full<bytes::Bytes>>> {
        let access = found.and_then(|found| match found {
            Found::Route(route) => Some(&route.access),
            Found::Itself => None,
        });
        match access {
            _ if !self.is_guarded => None,
            Some(Access::Public) => None,
            Some(Access::Known(require)) => require.refusal(request),
            None => Require::authenticated().refusal(request),
        }
    }
}

impl Shared {
    /// Checks and compiles a configuration.
    pub(crate) fn new(config: &Config) -> Result<Self, Invalid> {
        let mut faults = Vec::new();
        let table = Table::compile(config).map_err(|invalid| faults.extend(invalid.faults)).ok();
        let fault = |key: &str, value: &str, expected: &str| Fault {
            key: key.to_owned(),
            value: format!("{value:?}"),
            expected: expected.to_owned(),
        };
        let via = Via::new(&config.name);
        if via.is_none() {
            let expected = "a word of letters, digits and `-` that starts with a letter, as `Via` shows it";
            faults.push(fault("name", &config.name, expected));
        }
        if config.timeout.is_zero() {
            faults.push(fault("timeout", "0s", "more than zero"));
        }
        let mut removed = Vec::new();
        for name in &config.remove_request_fields {
            match HeaderName::try_from(name) {
                Ok(name) => removed.push(name),
                Err(_) => {
                    faults.push(fault(
                        "remove_request_fields",
                        name,
                        "the name of a field, such as `x-user`",
                    ));
                }
            }
        }
        let identity = identity::Names::new(&config.identity_fields);
        let identity = identity
            .map_err(|name| {
                let expected = "the name of a field, or what names begin with and `*`, such as `x-user-*`";
                faults.push(fault("identity_fields", name, expected));
            })
            .ok();
        match (table, via, identity) {
            (Some(table), Some(via), Some(identity)) if faults.is_empty() => {
                Ok(Self { table, via, forwarded: config.forwarded, identity, removed })
            }
            _ => Err(Invalid { faults }),
        }
    }

    /// What is asked for.
    fn find(&self, request: &Request<Body>, protocol: Protocol) -> Result<Found, Refusal> {
        let method = request.method();
        // RFC 9110 section 9.3.8 lets TRACE show what the gateway adds; section 9.3.6: CONNECT is for other proxies.
        if method == Method::TRACE || method == Method::CONNECT {
            let error = Error::new(Kind::MethodNotAllowed).with_detail(format!("{method} is not forwarded"));
            return Err(Refusal(error, ProxyError::HttpRequestDenied, Some(Vec::new())));
        }
        if method == Method::OPTIONS && request.uri().path() == "*" {
            return Ok(Found::Itself);
        }
        path::check(request.uri().path()).map_err(|error| {
            let error = Error::new(Kind::InvalidArgument).with_detail(error.to_string());
            Refusal(error, ProxyError::HttpRequestError, None)
        })?;
        self.route(request, protocol).map(Found::Route)
    }

    /// Turns the request into what goes upstream.
    fn prepare(
        &self,
        request: &mut Request<Body>,
        found: Found,
        protocol: Protocol,
    ) -> Result<Next, Refusal> {
        let refuse =
            |kind, detail: &'static str, why| Refusal(Error::new(kind).with_detail(detail), why, None);
        let route = match found {
            Found::Route(route) => route,
            Found::Itself => return Ok(Next::Answer(answer::options(&[]))),
        };
        if fields::asks_for_upgrade(request.headers()) {
            return Err(refuse(
                Kind::Unimplemented,
                "upgrades of the connection (WebSocket) are not forwarded",
                ProxyError::HttpRequestDenied,
            ));
        }
        if self.via.is_loop(request.headers()) {
            let detail = "the request goes in circles through this gateway";
            return Err(refuse(Kind::BadGateway, detail, ProxyError::ProxyLoopDetected));
        }
        if request.method() == Method::OPTIONS && self.is_last(request)? {
            return Ok(Next::Answer(answer::options(&route.methods)));
        }
        let uri = target(request.uri(), &route).map_err(|error| {
            Refusal(Error::new(Kind::Internal).with_source(error), ProxyError::HttpRequestError, None)
        })?;
        self.dress(request, &route, protocol);
        *request.uri_mut() = uri;
        // Which version the next connection speaks is for the client to say.
        *request.version_mut() = Version::HTTP_11;
        Ok(Next::Forward(route))
    }

    fn route(&self, request: &Request<Body>, protocol: Protocol) -> Result<Arc<Route>, Refusal> {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        // RFC 9112 section 3.2.2: the authority of the target goes before Host.
        let authority = request.uri().authority().map(uri::Authority::as_str).or(host);
        let found = self.table.find(authority, request.uri().path(), request.method());
        found.cloned().map_err(|reason| match reason {
            NoRoute::Path => {
                // "Status codes and their use in gRPC": a method that nobody serves is UNIMPLEMENTED.
                let kind = if protocol.is_grpc() { Kind::Unimplemented } else { Kind::NotFound };
                let error = Error::new(kind).with_detail("no route has this path");
                Refusal(error, ProxyError::HttpRequestDenied, None)
            }
            NoRoute::Method(allowed) => {
                let error = Error::new(Kind::MethodNotAllowed)
                    .with_detail(format!("no route with this path takes {}", request.method()));
                Refusal(error, ProxyError::HttpRequestDenied, Some(allowed))
            }
        })
    }

    /// RFC 9110 section 7.6.2: whether `Max-Forwards` ends here; counts it down where it doesn't.
    fn is_last(&self, request: &mut Request<Body>) -> Result<bool, Refusal> {
        let Some(value) = request.headers().get(header::MAX_FORWARDS) else { return Ok(false) };
        let number = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(number) = number.and_then(|text| text.parse::<u32>().ok()) else {
            let error =
                Error::new(Kind::InvalidArgument).with_detail("`Max-Forwards` must be a whole number");
            return Err(Refusal(error, ProxyError::HttpRequestError, None));
        };
        if let Some(left) = number.checked_sub(1) {
            request.headers_mut().insert(header::MAX_FORWARDS, HeaderValue::from(left));
        }
        Ok(number == 0)
    }

    /// Sets the fields as they go upstream.
    fn dress(&self, request: &mut Request<Body>, route: &Route, protocol: Protocol) {
        let version = request.version();
        let host = match request.uri().authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => request.headers().get(header::HOST).cloned(),
        };
        let extensions = std::mem::take(request.extensions_mut());
        let headers = request.headers_mut();

        let takes_trailers = protocol == Protocol::Grpc && fields::takes_trailers(headers);
        fields::remove_hop_by_hop(headers);
        if takes_trailers {
            fields::take_trailers(headers);
        }
        self.identity.remove(headers);
        for name in &self.removed {
            headers.remove(name);
        }
        let connection = extensions.get::<Connection>();
        // Under another server than Mainstay's there may be axum's word for it.
        let connected = || extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| *address);
        let address = connection.map_or_else(connected, Connection::remote);
        let encrypted = connection.is_some_and(Connection::is_tls);
        edge::tell(headers, Caller { address, host: host.as_ref(), encrypted }, self.forwarded);
        self.via.add(headers, version);
        headers.insert(header::HOST, route.host.clone());

        // What the server and the router of this process noted about the request does not concern the next one.
        let context =
            extensions.get::<RequestContext>().cloned().or_else(RequestContext::current).unwrap_or_default();
        let mut extensions = Extensions::new();
        extensions.insert(context.with_deadline(Deadline::by_default(route.timeout)));
        extensions.insert(PassedOn::new());
        *request.extensions_mut() = extensions;
    }

    /// What the caller gets: the answer without the fields of the upstream connection.
    pub(crate) fn undress(&self, response: &mut Response<Body>) {
        let version = response.version();
        fields::remove_hop_by_hop(response.headers_mut());
        self.via.add(response.headers_mut(), version);
        *response.version_mut() = Version::HTTP_11;
        *response.extensions_mut() = Extensions::new();
    }

    /// The answer where there is none from upstream.
    pub(crate) fn failed(
        &self,
        error: Error,
        route: &Route,
        protocol: Protocol,
        context: &RequestContext,
    ) -> Response<Body> {
        let (error, why) = answer::upstream(error, route.authority.as_str());
        tracing::debug!(route = &*route.name, service = route.authority.as_str(), error = %error, "no answer");
        answer::refuse(error, why, self.via.name(), protocol, context)
    }
}

/// The context of the request; a fresh one where no context layer stands before the gateway.
fn context_of(extensions: &Extensions) -> RequestContext {
    extensions.get().cloned().or_else(RequestContext::current).unwrap_or_default()
}

/// The logical name and the path there.
fn target(uri: &Uri, route: &Route) -> Result<Uri, BoxError> {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(uri::Scheme::HTTP);
    parts.authority = Some(route.authority.clone());
    parts.path_and_query = match &route.rewrite {
        None => uri.path_and_query().cloned(),
        Some(rewrite) => Some(uri::PathAndQuery::try_from(rewrite.apply(uri.path(), uri.query()))?),
    };
    Ok(Uri::from_parts(parts)?)
}

/// Written by hand: clones share the routes.
impl<C: Clone> Clone for Gateway<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            client: self.client.clone(),
            #[cfg(feature = "auth")]
            is_guarded: self.is_guarded,
        }
    }
}

impl<C> fmt::Debug for Gateway<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("name", &self.shared.via.name()).finish_non_exhaustive()
    }
}
