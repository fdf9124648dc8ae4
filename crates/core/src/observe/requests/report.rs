use std::{borrow::Cow, cmp::Reverse, collections::HashMap, net::SocketAddr, time::Duration};

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::{Noted, Ticket};
use crate::{
    context::{RequestContext, TraceId},
    error::Protocol,
    observe::{Client, Server, client::Calling, observation::Observation},
    trace::beginning,
};

/// Of requests and of calls under way the oldest so many are told, of those that ended the slowest and the last so many.
const MOST: usize = 200;
const MOST_ENDED: usize = 50;

/// What is under way now, and what was slow or has failed: for the page `/requests` of the admin listener
/// ([`Admin::with_requests`](crate::admin::Admin::with_requests)). As text it is for people.
///
/// No path, no query and no field of a request is in it: the route's template, and ids.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How many requests are being answered.
    pub in_flight_count: u64,
    /// The oldest 200 of them, the oldest first.
    pub in_flight: Vec<Request>,
    /// How many calls are under way, attempt by attempt.
    pub calls_count: u64,
    /// The oldest 200 of them, the oldest first.
    pub calls: Vec<Call>,
    /// The slowest requests of the last five to ten minutes: at most 5 of a route and window of five minutes, and 50 in
    /// all, the slowest first.
    pub slowest: Vec<Finished>,
    /// The last requests that failed, or that their caller gave up: at most 10 of a route, and 50 in all, the last first.
    pub failed: Vec<Finished>,
}

/// A request that is being answered.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Request {
    /// How long it has been here. `age_seconds`.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: Duration,
    /// The service that answers it.
    pub service: String,
    /// The method of HTTP, `_OTHER` if it is none.
    pub method: &'static str,
    /// The template of its route; `None` before it was routed, and where no route answers.
    pub route: Option<String>,
    /// The method of gRPC, with its service.
    pub rpc_method: Option<String>,
    /// Where it is. `stack`: it was not routed yet, and is in a layer outside of the routes. `request`: the rest of its body
    /// is waited for. `handler`: in the handler, or in a layer of the service's own. `calls`: a call that it made is under
    /// way. `answer`: the head of the answer is there, and the body is being sent. Or what it [waits for](super::waits_for).
    pub at: &'static str,
    /// The services that are called for it now.
    pub calls: Vec<String>,
    /// What is left until its deadline; negative after it. `deadline_seconds`.
    pub deadline_seconds: Option<f64>,
    /// Who sent it: the other end of the connection.
    pub peer: Option<SocketAddr>,
    /// Its trace.
    #[serde(serialize_with = "text")]
    pub trace_id: TraceId,
}

/// An attempt of a call that is under way.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Call {
    /// Since when. `age_seconds`.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: Duration,
    /// The service that is called.
    pub service: String,
    /// Where it is; `None` where that is this process.
    pub endpoint: Option<String>,
    /// The method of HTTP.
    pub method: &'static str,
    /// The method of gRPC, with its service.
    pub rpc_method: Option<String>,
    /// `answer`: nothing has come yet; `body`: the head of the answer is there.
    pub waits_for: &'static str,
    /// The service in whose request it was made; `None` for one outside of all requests.
    pub caller: Option<String>,
    /// The trace of that request.
    #[serde(serialize_with = "text_or_null")]
    pub trace_id: Option<TraceId>,
}

/// A request that has ended.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Finished {
    /// How long it took, to the last byte of the answer. `took_seconds`.
    #[serde(rename = "took_seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// How long ago it ended. `ago_seconds`.
    #[serde(rename = "ago_seconds", serialize_with = "seconds")]
    pub ago: Duration,
    /// The service that answered it.
    pub service: String,
    /// The method of HTTP, `_OTHER` if it is none.
    pub method: &'static str,
    /// The template of its route; `None` where no route answers.
    pub route: Option<String>,
    /// The method of gRPC, with its service.
    pub rpc_method: Option<String>,
    /// The status of HTTP; `None` where nothing was answered.
    pub status: Option<u16>,
    /// `error.type`, as its metrics and its span have it; `None` where nothing went wrong.
    pub error: Option<String>,
    /// Who sent it: the other end of the connection.
    pub peer: Option<SocketAddr>,
    /// Its trace.
    #[serde(serialize_with = "text")]
    pub trace_id: TraceId,
    /// Whether the trace is recorded, and to be found where traces are sent.
    pub is_recorded: bool,
}

impl Report {
    /// Of these services, and of the calls of this client.
    #[must_use]
    pub fn new(servers: &[Server], client: Option<&Client>) -> Self {
        let now = Instant::now();
        let (calls_count, mut calling) = client.map(Client::calling).unwrap_or_default();
        calling.sort_by_key(|calling| calling.started);
        let mut called: HashMap<(&str, Ticket), Vec<String>> = HashMap::new();
        for calling in &calling {
            let services = called.entry((calling.caller(), calling.request)).or_default();
            if !services.iter().any(|service| *service == calling.service()) {
                services.push(calling.service().to_owned());
            }
        }
        let (in_flight_count, in_flight) = in_flight(servers, &mut called, now);
        let (slowest, failed) = finished(servers, now);
        let calls = calling.iter().take(MOST).map(|calling| Call::new(calling, now)).collect();
        Self { in_flight_count, in_flight, calls_count, calls, slowest, failed }
    }
}

fn in_flight<'a>(
    servers: &'a [Server],
    called: &mut HashMap<(&'a str, Ticket), Vec<String>>,
    now: Instant,
) -> (u64, Vec<Request>) {
    let mut all = Vec::new();
    let mut count = 0;
    for server in servers {
        let flights = &server.inner().in_flight;
        all.extend(flights.all().into_iter().map(|flight| (server, flight)));
        count += flights.unknown();
    }
    count += all.len() as u64;
    all.sort_by_key(|(_, flight)| flight.content.observation().map(Observation::started));
    let shown = all.into_iter().take(MOST).filter_map(|(server, flight)| {
        let calls = called.remove(&(server.service(), flight.ticket)).unwrap_or_default();
        Request::new(server, &flight.content, flight.waits_for, calls, now)
    });
    (count, shown.collect())
}

fn finished(servers: &[Server], now: Instant) -> (Vec<Finished>, Vec<Finished>) {
    let (mut slowest, mut failed) = (Vec::new(), Vec::new());
    for server in servers {
        let inner = server.inner();
        inner.turn(now);
        let routes = inner.routes.all();
        for route in routes.iter().chain([&inner.unrouted]) {
            let with = |noted: Noted| (server, route.template().to_owned(), noted);
            let (slow, bad) = route.recent().read(inner.window());
            slowest.extend(slow.into_iter().map(with));
            failed.extend(bad.into_iter().map(with));
        }
    }
    slowest.sort_by_key(|(_, _, noted)| Reverse(noted.took));
    failed.sort_by_key(|(_, _, noted)| Reverse(noted.ended));
    let shown = |all: Vec<(&Server, String, Noted)>| {
        let shown = all.into_iter().take(MOST_ENDED);
        shown.map(|(server, route, noted)| Finished::new(server, route, &noted, now)).collect()
    };
    (shown(slowest), shown(failed))
}

impl Request {
    fn new(
        server: &Server,
        context: &RequestContext,
        waits_for: Option<&'static str>,
        calls: Vec<String>,
        now: Instant,
    ) -> Option<Self> {
        let seen = context.observation()?;
        let route = seen.route().map(|route| route.template().to_owned());
        let at = match waits_for {
            Some(what) => what,
            None if !calls.is_empty() => "calls",
            None if seen.place().is_answered() => "answer",
            None if route.is_some() => "handler",
            None => "stack",
        };
        let is_rpc = route.is_some() && context.protocol().is_some_and(Protocol::is_grpc);
        let rpc_method = seen.path().filter(|_| is_rpc);
        Some(Self {
            age: now.saturating_duration_since(seen.started()),
            service: server.service().to_owned(),
            method: seen.method().name(),
            // The service is routed; the method behind it can be made up, at any length.
            rpc_method: rpc_method.map(|path| beginning(path.trim_start_matches('/'), 256).to_owned()),
            route,
            at,
            calls,
            deadline_seconds: context.deadline().map(|deadline| left(deadline.at(), now)),
            peer: seen.peer(),
            trace_id: context.trace().trace_id(),
        })
    }
}

impl Call {
    fn new(calling: &Calling, now: Instant) -> Self {
        Self {
            age: now.saturating_duration_since(calling.started),
            service: calling.service().to_owned(),
            endpoint: calling.endpoint.as_ref().map(ToString::to_string),
            method: calling.method.name(),
            rpc_method: calling.rpc.as_ref().map(|path| path.path().trim_start_matches('/').to_owned()),
            waits_for: if calling.is_answered { "body" } else { "answer" },
            caller: Some(calling.caller()).filter(|caller| !caller.is_empty()).map(str::to_owned),
            trace_id: calling.trace_id,
        }
    }
}

impl Finished {
    fn new(server: &Server, route: String, noted: &Noted, now: Instant) -> Self {
        let status: Cow<'_, str> = noted.answered.status_text();
        let error = noted.answered.error(&status);
        Self {
            took: noted.took,
            ago: now.saturating_duration_since(noted.ended),
            service: server.service().to_owned(),
            method: noted.method.name(),
            route: Some(route).filter(|route| !route.is_empty()),
            rpc_method: noted.rpc_method.as_ref().map(|method| method.name.to_string()),
            status: noted.answered.status.map(|status| status.as_u16()),
            error: Some(error).filter(|error| !error.is_empty()).map(str::to_owned),
            peer: noted.peer,
            trace_id: noted.trace.trace_id(),
            is_recorded: noted.trace.is_sampled(),
        }
    }
}

fn left(until: Instant, now: Instant) -> f64 {
    let passed = now.saturating_duration_since(until);
    if passed.is_zero() { (until - now).as_secs_f64() } else { -passed.as_secs_f64() }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn text<S: Serializer>(id: &TraceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn text_or_null<S: Serializer>(id: &Option<TraceId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => text(id, serializer),
        None => serializer.serialize_none(),
    }
}
