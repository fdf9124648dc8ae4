//! One request, from its first layer to the last byte of its answer.

use std::{borrow::Cow, net::SocketAddr, sync::OnceLock, time::Duration};

use http::{
    HeaderMap, Request, StatusCode, Version, header,
    uri::{PathAndQuery, Scheme},
};
use tokio::time::Instant;

use super::{
    grpc::Code,
    method::Known,
    requests::{Noted, Place},
    route::Route,
    server::{Inner, Server},
};
use crate::{
    clock,
    context::{Parts, RequestContext},
    error::Protocol,
    server::Connection,
    trace::{Kind, SpanData, Status, Value, beginning},
};

/// What is known of a request while it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    started: Instant,
    method: Known,
    is_secure: bool,
    version: Version,
    /// Where somebody asks for it at the end.
    target: Option<PathAndQuery>,
    peer: Option<SocketAddr>,
    route: OnceLock<Route>,
    place: Place,
}

/// How a request ended, with what was seen of its answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct End {
    /// The status; `None`: nothing was answered.
    pub(crate) status: Option<StatusCode>,
    /// What gRPC said, in the head or in trailers.
    pub(crate) code: Option<Code>,
    /// Whether it was dropped in the middle.
    pub(crate) is_cut: bool,
}

impl End {
    /// By its head.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap, protocol: Option<Protocol>) -> Self {
        let is_grpc = protocol.is_some_and(|protocol| protocol != Protocol::Http);
        let code = if is_grpc { Code::of(headers) } else { None };
        Self { status: Some(status), code, is_cut: false }
    }

    /// What the trailers say.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.code = Code::of(trailers).or(self.code);
    }
}

/// An [`End`] that says for gRPC what gRPC says where nothing was said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) status: Option<StatusCode>,
    pub(super) code: Option<Code>,
    pub(super) is_cut: bool,
}

impl Answered {
    /// In a few bits, what tells series of a route apart.
    pub(super) fn key(&self, seen: &Observation) -> u64 {
        let status = self.status.map_or(0, |status| status.as_u16());
        let version = match seen.version {
            Version::HTTP_2 => 2,
            Version::HTTP_11 => 1,
            _ => 0,
        };
        u64::from(status) << 16
            | (seen.method.index() as u64) << 8
            | version << 2
            | u64::from(seen.is_secure) << 1
            | u64::from(self.is_cut)
    }

    pub(super) fn status_text(&self) -> Cow<'_, str> {
        self.status.as_ref().map_or(Cow::Borrowed(""), |status| Cow::Borrowed(status.as_str()))
    }

    /// Empty where it went well, or failed by the caller's fault.
    pub(super) fn error_type<'a>(&self, status: &'a str) -> &'a str {
        match self.status {
            // Also where nobody read the rest: who repeats a request has no use for the body of the failure.
            Some(code) if code.is_server_error() => status,
            _ if self.is_cut => "cancelled",
            _ => "",
        }
    }

    /// The same, where gRPC knows better what it was.
    pub(super) fn error<'a>(&self, status: &'a str) -> &'a str {
        match self.code {
            Some(code) if code.is_fault() => code.name(),
            _ => self.error_type(status),
        }
    }

    /// Whether there is an error to tell.
    pub(super) fn has_failed(&self) -> bool {
        self.is_cut || self.is_fault()
    }

    /// Whether the service failed.
    fn is_fault(&self) -> bool {
        self.status.is_some_and(|status| status.is_server_error()) || self.code.is_some_and(Code::is_fault)
    }
}

impl Observation {
    /// Begins to observe a request that has these `parts`: its observation is put into them and, where it is recorded, its
    /// span.
    pub(crate) fn begin<B>(parts: &mut Parts, request: &Request<B>, now: Instant) {
        let Some(server) = parts.ambient.server() else { return };
        let inner = server.inner();
        let connection = request.extensions().get::<Connection>();
        // By the connection; a proxy in front that ends TLS is asked for by whoever trusts it.
        let is_secure =
            connection.is_some_and(Connection::is_tls) || request.uri().scheme() == Some(&Scheme::HTTPS);
        let method = Known::of(request.method());
        let is_grpc = parts.protocol.is_some_and(|protocol| protocol != Protocol::Http);
        let samples = inner.tracer.samples(&parts.trace, now);
        let target = || request.uri().path_and_query().cloned();
        let observation = Self {
            started: now,
            method,
            is_secure,
            version: request.version(),
            target: if is_grpc || samples || inner.access_log { target() } else { None },
            peer: connection.and_then(Connection::remote),
            route: OnceLock::new(),
            place: Place::default(),
        };
        inner.active(method, is_secure).add(1);
        let had_parent = parts.trace.parent().is_some();
        // What the caller decided is passed on, also where nothing is recorded here.
        if samples {
            parts.trace = parts.trace.sampled(true);
            let mut data = observation.span(inner, parts, had_parent);
            describe(&mut data, request, connection);
            parts.span = inner.tracer.start(data);
        } else if inner.tracer.overrules() {
            parts.trace = parts.trace.sampled(false);
        }
        parts.observation = Some(observation);
    }

    /// Puts the request where it is found by those who ask what is under way, until it ends.
    pub(crate) fn enter(context: &RequestContext) {
        if let (Some(seen), Some(server)) = (context.observation(), context.ambient().server()) {
            seen.place.enter(server.inner().in_flight.insert(context.clone()));
        }
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&self) {
        self.place.answer();
    }

    /// Ends it.
    pub(crate) fn end(context: &RequestContext, end: End) {
        let (Some(seen), Some(server)) = (context.observation(), context.ambient().server()) else { return };
        seen.finish(server, context, end);
    }

    fn finish(&self, server: &Server, context: &RequestContext, end: End) {
        let inner = server.inner();
        let now = Instant::now();
        let took = now.saturating_duration_since(self.started);
        let (entered, is_due) = inner.in_flight.remove_at(self.place.ticket(), now);
        drop(entered);
        if is_due {
            inner.in_flight.again_at(self.place.ticket(), inner.turn(now));
        }
        inner.active(self.method, self.is_secure).add(-1);
        let is_grpc = context.protocol().is_some_and(|protocol| protocol != Protocol::Http);
        let code = match end.code {
            // The answer of something else than a gRPC service: a proxy's, or an upgrade.
            None if is_grpc && end.is_cut => Some(Code::CANCELLED),
            None if is_grpc => Some(Code::UNKNOWN),
            code => code,
        };
        let answered = Answered { status: end.status, code, is_cut: end.is_cut };
        inner.count(self, &answered, took, context.trace());
        let recent = self.route().unwrap_or(&inner.unrouted).recent();
        let window = inner.window();
        if answered.has_failed() || recent.is_slow(window, took) {
            recent.note(window, self.noted(inner, context, &answered, (now, took)));
        }
        if context.span().is_recording() {
            self.complete(inner, context, &answered);
        } else if inner.tracer.keeps(answered.is_fault(), took) {
            inner.tracer.put(self.kept(inner, context, &answered, took));
        }
        if inner.access_log {
            self.log(inner, &answered, took);
        }
    }

    /// What is kept of it for some time.
    #[cold]
    fn noted(
        &self,
        inner: &Inner,
        context: &RequestContext,
        answered: &Answered,
        (ended, took): (Instant, Duration),
    ) -> Noted {
        Noted {
            method: self.method,
            rpc_method: answered.code.and_then(|_| inner.known_method(self.path()?)),
            answered: *answered,
            peer: self.peer,
            trace: *context.trace(),
            took,
            ended,
        }
    }

    /// The first one that says which route it is is believed.
    pub(crate) fn set_route(&self, route: impl FnOnce() -> Route) {
        if self.route.get().is_none() {
            let _ = self.route.set(route());
        }
    }

    pub(super) fn route(&self) -> Option<&Route> {
        self.route.get()
    }

    pub(super) fn path(&self) -> Option<&str> {
        self.target.as_ref().map(PathAndQuery::path)
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn method(&self) -> Known {
        self.method
    }

    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// `network.protocol.version`.
    pub(super) fn version(&self) -> &'static str {
        match self.version {
            Version::HTTP_09 => "0.9",
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            Version::HTTP_3 => "3",
            _ => "1.1",
        }
    }

    fn span(&self, inner: &Inner, parts: &Parts, is_parent_remote: bool) -> SpanData {
        let mut data =
            SpanData::new(inner.service.clone(), self.method.span_name(), Kind::Server, parts.trace);
        data.is_parent_remote = is_parent_remote;
        data.tracestate.clone_from(&parts.tracestate);
        let mut put = |name: &'static str, value: Value| data.attributes.push((name.into(), value));
        put("http.request.method", self.method.name().into());
        put("url.scheme", super::server::SCHEMES[usize::from(self.is_secure)].into());
        if let Some(path) = self.path() {
            put("url.path", path.to_owned().into());
        }
        put("network.protocol.version", self.version().into());
        data
    }

    /// `{method} {http.route}`, or for gRPC the method with its service.
    fn name(&self, answered: &Answered) -> Cow<'static, str> {
        if answered.code.is_some() && self.route().is_some() {
            return Cow::Owned(self.path().unwrap_or_default().trim_start_matches('/').to_owned());
        }
        match self.route().map(Route::template) {
            Some(route) if !route.is_empty() => Cow::Owned(format!("{} {route}", self.method.span_name())),
            _ => Cow::Borrowed(self.method.span_name()),
        }
    }

    /// What is known at the end only.
    fn closing(&self, answered: &Answered, mut put: impl FnMut(&'static str, Value)) -> Status {
        if let Some(route) = self.route().filter(|route| !route.template().is_empty()) {
            put("http.route", route.template().to_owned().into());
        }
        if let Some(status) = answered.status {
            put("http.response.status_code", status.as_u16().into());
        }
        if let Some(code) = answered.code {
            put("rpc.system.name", "grpc".into());
            put("rpc.method", self.path().unwrap_or_default().trim_start_matches('/').to_owned().into());
            put("rpc.response.status_code", code.name().into());
        }
        let status = answered.status_text();
        let error = answered.error(&status);
        if error.is_empty() {
            return Status::Unset;
        }
        put("error.type", error.to_owned().into());
        // That the caller went away is no fault of the service.
        if answered.is_fault() { Status::Error(Cow::Borrowed("")) } else { Status::Unset }
    }

    fn complete(&self, _: &Inner, context: &RequestContext, answered: &Answered) {
        let span = context.span();
        span.rename(self.name(answered));
        if let Status::Error(why) = self.closing(answered, |name, value| span.set(name, value)) {
            span.fail(why);
        }
        span.end();
    }

    /// A span for a request whose trace is not recorded.
    fn kept(&self, inner: &Inner, context: &RequestContext, answered: &Answered, took: Duration) -> SpanData {
        let has_parent = context.trace().parent().is_some();
        let mut data = self.span(inner, context.parts(), has_parent);
        data.name = self.name(answered);
        let mut closing = Vec::new();
        data.status = self.closing(answered, |name, value| closing.push((name.into(), value)));
        data.attributes.append(&mut closing);
        data.end = clock::wall();
        data.start = data.end.checked_sub(took).unwrap_or(data.end);
        data
    }

    fn log(&self, inner: &Inner, answered: &Answered, took: Duration) {
        tracing::info!(
            target: "mainstay::access",
            service = &*inner.service,
            method = self.method.name(),
            path = self.path().unwrap_or_default(),
            route = self.route().map(Route::template).unwrap_or_default(),
            status = answered.status.map(|status| status.as_u16()),
            grpc_status = answered.code.map(Code::name),
            duration_ms = took.as_secs_f64() * 1000.0,
            cancelled = answered.is_cut,
            "answered"
        );
    }
}

/// What only a recorded request is asked for.
fn describe<B>(data: &mut SpanData, request: &Request<B>, connection: Option<&Connection>) {
    let mut put = |name: &'static str, value: Value| data.attributes.push((name.into(), value));
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str());
    if let Some(host) = authority.or_else(|| text(header::HOST)) {
        let (address, port) = match host.rsplit_once(':') {
            Some((address, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, port.parse::<u16>().ok())
            }
            _ => (host, None),
        };
        put("server.address", short(address));
        if let Some(port) = port {
            put("server.port", port.into());
        }
    }
    if let Some(agent) = text(header::USER_AGENT) {
        put("user_agent.original", short(agent));
    }
    if let Some(peer) = connection.and_then(Connection::remote) {
        put("network.peer.address", peer.ip().to_string().into());
        put("network.peer.port", peer.port().into());
    }
}

/// What a caller made up is not kept at any length.
fn short(text: &str) -> Value {
    beginning(text, 256).to_owned().into()
}
