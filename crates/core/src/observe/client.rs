//! Calls, attempt by attempt.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Request, StatusCode, Version, uri::PathAndQuery};
use tokio::time::Instant;

use super::{
    grpc::Code,
    known::Seen,
    method::Known,
    record,
    requests::{Flights, Ticket},
    route::Bound,
};
use crate::{
    context::{ATTEMPT, RequestContext, TraceContext, TraceId},
    error::Protocol,
    metrics::{Definition, Family, Histogram, Registry, Rejected},
    trace::{Kind, Span},
};

/// Observes the calls of one client: each attempt is measured, and has a span where the request that it is made for is
/// recorded. Clones are the same one.
#[derive(Clone)]
pub struct Client(Arc<Families>);

struct Families {
    durations: Family<Histogram, 7>,
    calls: Family<Histogram, 6>,
    in_flight: Flights<Calling>,
}

/// An attempt that is under way.
#[derive(Clone)]
pub(super) struct Calling {
    peer: Peer,
    caller: Arc<Caller>,
    /// The request that it is made for, among those of the caller.
    pub(super) request: Ticket,
    pub(super) trace_id: Option<TraceId>,
    pub(super) started: Instant,
    pub(super) method: Known,
    pub(super) rpc: Option<PathAndQuery>,
    pub(super) endpoint: Option<Arc<dyn fmt::Display + Send + Sync>>,
    pub(super) is_answered: bool,
}

/// Observes the calls to one service. Clones are the same one.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    families: Client,
    service: Box<str>,
    /// The series by who calls: the service in whose request it is, and empty where it is in none.
    callers: Seen<Arc<Caller>>,
    outside: Arc<Caller>,
}

struct Caller {
    service: Box<str>,
    http: Bound,
    methods: Seen<Arc<RpcMethod>>,
    others: Arc<RpcMethod>,
}

/// A method of gRPC.
struct RpcMethod {
    name: Box<str>,
    series: Bound,
}

impl Client {
    /// Counts into `registry`.
    ///
    /// # Errors
    /// [`Rejected`] where `registry` has other metrics under the same names.
    pub fn new(registry: &Registry) -> Result<Self, Rejected> {
        let durations = registry.histogram(
            Definition::new(
                "http.client.request.duration",
                "s",
                "How long attempts of calls took, to the last byte of the answer",
            ),
            [
                "service.name",
                "http.request.method",
                "server.address",
                "url.scheme",
                "http.response.status_code",
                "error.type",
                "network.protocol.version",
            ],
        )?;
        let calls = registry.histogram(
            Definition::new(
                "rpc.client.call.duration",
                "s",
                "How long attempts of gRPC calls took, to the end of the answer",
            ),
            [
                "service.name",
                "rpc.system.name",
                "rpc.method",
                "server.address",
                "rpc.response.status_code",
                "error.type",
            ],
        )?;
        Ok(Self(Arc::new(Families { durations, calls, in_flight: Flights::default() })))
    }

    /// How many attempts are under way, and those that are known.
    pub(super) fn calling(&self) -> (u64, Vec<Calling>) {
        let flights = &self.0.in_flight;
        let all: Vec<_> = flights.all().into_iter().map(|flight| flight.content).collect();
        (all.len() as u64 + flights.unknown(), all)
    }

    /// Of the calls to `service`.
    #[must_use]
    pub fn peer(&self, service: &str) -> Peer {
        Peer(Arc::new(Inner {
            families: self.clone(),
            service: service.into(),
            callers: Seen::default(),
            outside: Arc::new(Caller::new("")),
        }))
    }
}

impl Calling {
    /// The service that is called.
    pub(super) fn service(&self) -> &str {
        &self.peer.0.service
    }

    /// The service that calls; empty outside of requests.
    pub(super) fn caller(&self) -> &str {
        &self.caller.service
    }
}

impl Caller {
    fn new(service: &str) -> Self {
        let others = Arc::new(RpcMethod::new("_OTHER"));
        Self { service: service.into(), http: Bound::default(), methods: Seen::default(), others }
    }
}

impl RpcMethod {
    fn new(name: &str) -> Self {
        Self { name: name.into(), series: Bound::default() }
    }
}

/// One attempt. It ends when this is dropped.
#[must_use]
pub struct Attempt {
    peer: Peer,
    caller: Arc<Caller>,
    started: Instant,
    in_flight: Ticket,
    method: Known,
    version: Version,
    /// The path, where the call speaks gRPC.
    rpc: Option<PathAndQuery>,
    span: Span,
    trace: Option<TraceContext>,
    status: Option<StatusCode>,
    code: Option<Code>,
    error: Option<Failure>,
}

/// Why there is no answer, or no end of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// There was no connection.
    Connect,
    /// The connection broke.
    Reset,
    /// The time was over.
    Timeout,
    /// The request itself failed: its body.
    Request,
}

impl Failure {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Request => "request",
        }
    }
}

impl Peer {
    /// Begins an attempt with `request`. Where it is recorded the request says so: its `traceparent`, or what it has
    /// in its place, names the span of the attempt.
    pub fn begin<B>(&self, request: &mut Request<B>) -> Attempt {
        let seen = RequestContext::peek(|context| {
            let caller = context.ambient().server().map(|server| self.caller(server.service()));
            let ticket = context.observation().map(|seen| seen.place().ticket());
            (caller, ticket, *context.trace())
        });
        let (caller, ticket, trace) = match seen {
            Some((caller, ticket, trace)) => (caller, ticket, Some(trace)),
            None => (None, None, None),
        };
        let caller = caller.unwrap_or_else(|| Arc::clone(&self.0.outside));
        let method = Known::of(request.method());
        let is_grpc = Protocol::of_request(request) == Protocol::Grpc;
        let rpc = if is_grpc { request.uri().path_and_query().cloned() } else { None };
        let span = self.span(request, method, is_grpc);
        let started = Instant::now();
        let in_flight = self.0.families.0.in_flight.insert(Calling {
            peer: self.clone(),
            caller: Arc::clone(&caller),
            request: ticket.unwrap_or(Ticket::NONE),
            trace_id: trace.as_ref().map(TraceContext::trace_id),
            started,
            method,
            rpc: rpc.clone(),
            endpoint: None,
            is_answered: false,
        });
        let mut trace = trace.filter(TraceContext::is_sampled);
        if let Some(own) = span.trace() {
            trace = Some(*own);
            let propagation = RequestContext::peek(RequestContext::propagation).unwrap_or_default();
            propagation.write(own, own.span_id(), request.headers_mut());
        }
        Attempt {
            peer: self.clone(),
            caller,
            started,
            in_flight,
            method,
            version: request.version(),
            rpc,
            span,
            trace,
            status: None,
            code: None,
            error: None,
        }
    }

    fn caller(&self, service: &str) -> Arc<Caller> {
        let new = |name: &str| Arc::new(Caller::new(name));
        self.0.callers.get(service, new).unwrap_or_else(|| Arc::clone(&self.0.outside))
    }

    fn span<B>(&self, request: &Request<B>, method: Known, is_grpc: bool) -> Span {
        let parent = Span::current();
        if !parent.is_recording() {
            return Span::none();
        }
        let path = request.uri().path();
        let rpc = path.trim_start_matches('/');
        let span = match is_grpc {
            true => parent.child_of_kind(Kind::Client, rpc.to_owned()),
            false => parent.child_of_kind(Kind::Client, method.span_name()),
        };
        let service = &*self.0.service;
        span.set("server.address", service.to_owned());
        span.set("http.request.method", method.name());
        // Without the query: it may hold what is nobody's business.
        span.set("url.full", format!("http://{service}{path}"));
        if is_grpc {
            span.set("rpc.system.name", "grpc");
            span.set("rpc.method", rpc.to_owned());
        }
        let before =
            request.headers().get(ATTEMPT).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        if let Some(before) = before.filter(|before| *before > 0) {
            span.set("http.request.resend_count", before);
        }
        span
    }
}

impl Attempt {
    /// The endpoint that it goes to, as its address.
    pub fn goes_to(&self, endpoint: Arc<dyn fmt::Display + Send + Sync>) {
        if self.span.is_recording() {
            self.span.set("network.peer.address", endpoint.to_string());
        }
        self.flights().update(self.in_flight, |calling| calling.endpoint = Some(endpoint));
    }

    fn flights(&self) -> &Flights<Calling> {
        &self.peer.0.families.0.in_flight
    }

    /// The head of the answer is here.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap, version: Version) {
        self.status = Some(status);
        self.version = version;
        self.flights().update(self.in_flight, |calling| calling.is_answered = true);
        if self.rpc.is_some() {
            self.code = Code::of(headers);
        }
    }

    /// The trailers are here.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if self.rpc.is_some() {
            self.code = Code::of(trailers).or(self.code);
        }
    }

    /// It failed.
    pub fn failed(&mut self, why: Failure) {
        self.error = Some(why);
    }

    fn code(&self) -> Option<Code> {
        self.rpc.as_ref()?;
        Some(match (self.code, self.error) {
            (Some(code), _) => code,
            (None, Some(_)) => Code::UNAVAILABLE,
            (None, None) if self.status.is_none() => Code::CANCELLED,
            (None, None) => Code::UNKNOWN,
        })
    }

    /// Empty where it went well. To a caller, what it did wrong itself is an error too.
    fn error_type(&self) -> &str {
        let status = self.status.as_ref();
        match (self.error, self.code()) {
            (Some(why), _) => why.as_str(),
            (None, Some(Code::OK)) => "",
            (None, Some(code)) => code.name(),
            (None, None) if status.is_none() => "cancelled",
            (None, None) => match status {
                Some(status) if status.is_client_error() || status.is_server_error() => status.as_str(),
                _ => "",
            },
        }
    }

    fn count(&self, took: Duration) {
        let status = self.status.map_or(0, |status| status.as_u16());
        let version = u64::from(self.version == Version::HTTP_2);
        let error = self.error.map_or(0, |why| why as u64 + 1);
        let key = u64::from(status) << 32 | (self.method.index() as u64) << 16 | error << 1 | version;
        let with = |series: &Histogram| record(series, took, self.trace.as_ref());
        self.caller.http.with(key, || self.duration(), with);
        if let (Some(code), Some(path)) = (self.code(), &self.rpc) {
            let new = |name: &str| Arc::new(RpcMethod::new(name));
            let path = path.path().trim_start_matches('/');
            let method =
                self.caller.methods.get(path, new).unwrap_or_else(|| Arc::clone(&self.caller.others));
            let key = u64::from(code.index()) << 32 | error;
            method.series.with(key, || self.call(&method.name, code), with);
        }
    }

    fn duration(&self) -> Histogram {
        self.peer.0.families.0.durations.with([
            &self.caller.service,
            self.method.name(),
            &self.peer.0.service,
            "http",
            self.status.as_ref().map_or("", StatusCode::as_str),
            self.error_type(),
            if self.version == Version::HTTP_2 { "2" } else { "1.1" },
        ])
    }

    fn call(&self, method: &str, code: Code) -> Histogram {
        let Inner { families, service, .. } = &*self.peer.0;
        families.0.calls.with([&self.caller.service, "grpc", method, service, code.name(), self.error_type()])
    }

    fn complete(&self) {
        if let Some(status) = self.status {
            self.span.set("http.response.status_code", status.as_u16());
        }
        if let Some(code) = self.code() {
            self.span.set("rpc.response.status_code", code.name());
        }
        let error = self.error_type();
        if !error.is_empty() {
            self.span.set("error.type", error.to_owned());
            // Who calls knows best whether it wanted to go away.
            if error != "cancelled" {
                self.span.fail("");
            }
        }
        self.span.end();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        drop(self.flights().remove(self.in_flight));
        self.count(self.started.elapsed());
        if self.span.is_recording() {
            self.complete();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("service", &self.0.service).finish_non_exhaustive()
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("peer", &self.peer).field("span", &self.span).finish_non_exhaustive()
    }
}
