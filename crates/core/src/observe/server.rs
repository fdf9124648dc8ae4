use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    grpc::Code,
    method::Known,
    observation::{Answered, Observation},
    route::{Bound, Route},
};
use crate::{
    context::TraceContext,
    metrics::{Definition, Family, Histogram, Registry, Rejected, UpDownCounter},
    trace::Tracer,
};

/// A service has no more routes, and no more gRPC methods, than this; what comes beyond counts as none.
const ROUTES: usize = 1000;

/// Observes the requests of one service. Clones are the same one.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

pub(super) struct Inner {
    pub(super) service: Arc<str>,
    pub(super) tracer: Tracer,
    pub(super) access_log: bool,
    in_flight: Family<UpDownCounter, 3>,
    active: [[OnceLock<UpDownCounter>; 2]; Known::COUNT],
    durations: Family<Histogram, 7>,
    calls: Family<Histogram, 5>,
    routes: Seen<Route>,
    unrouted: Route,
    methods: Seen<Arc<Method>>,
    unknown: Arc<Method>,
}

/// What was seen, by name: grown under a lock, read without one.
struct Seen<T> {
    all: ArcSwap<HashMap<Box<str>, T>>,
    growing: Mutex<()>,
}

/// A method of gRPC.
struct Method {
    /// `package.Service/Method`.
    name: Box<str>,
    series: Bound,
}

/// The schemes, by whether they are secure.
pub(super) const SCHEMES: [&str; 2] = ["http", "https"];

impl Server {
    /// Counts into `registry`, records with `tracer`.
    ///
    /// # Errors
    /// [`Rejected`] where `registry` has other metrics under the same names.
    pub fn new(registry: &Registry, service: &str, tracer: Tracer) -> Result<Self, Rejected> {
        let in_flight = registry.up_down_counter(
            Definition::new("http.server.active_requests", "{request}", "Requests that are being answered"),
            ["service.name", "http.request.method", "url.scheme"],
        )?;
        let durations = registry.histogram(
            Definition::new(
                "http.server.request.duration",
                "s",
                "How long requests took, to the last byte of the answer",
            ),
            [
                "service.name",
                "http.request.method",
                "url.scheme",
                "http.route",
                "http.response.status_code",
                "error.type",
                "network.protocol.version",
            ],
        )?;
        let calls = registry.histogram(
            Definition::new(
                "rpc.server.call.duration",
                "s",
                "How long gRPC calls took, to the end of the answer",
            ),
            ["service.name", "rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type"],
        )?;
        Ok(Self(Arc::new(Inner {
            service: service.into(),
            tracer,
            access_log: false,
            in_flight,
            active: Default::default(),
            durations,
            calls,
            routes: Seen::default(),
            unrouted: Route::new(""),
            methods: Seen::default(),
            unknown: Arc::new(Method { name: "_OTHER".into(), series: Bound::default() }),
        })))
    }

    /// Whether a line is logged for each request, at its end: target `mainstay::access`, level `INFO`.
    #[must_use]
    pub fn with_access_log(mut self, access_log: bool) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.access_log = access_log;
        }
        self
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// Decides what is recorded.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.0.tracer
    }

    /// The route of this template; where there are too many, that of requests without one.
    #[must_use]
    pub fn route(&self, template: &str) -> Route {
        self.0.routes.get(template, Route::new).unwrap_or_else(|| self.0.unrouted.clone())
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    pub(super) fn active(&self, method: Known, secure: bool) -> &UpDownCounter {
        let secure = usize::from(secure);
        // In range: there is one for each method and each scheme.
        self.active[method.index()][secure]
            .get_or_init(|| self.in_flight.with([&self.service, method.name(), SCHEMES[secure]]))
    }

    /// Counts a request that took so long.
    pub(super) fn count(
        &self,
        seen: &Observation,
        answered: &Answered,
        took: Duration,
        trace: &TraceContext,
    ) {
        let route = seen.route().unwrap_or(&self.unrouted);
        let record = |series: &Histogram| record(series, took, trace);
        route.series().with(answered.key(seen), || self.duration(seen, route, answered), record);
        if let (Some(code), Some(path)) = (answered.code, seen.path()) {
            let method = self.method(path.trim_start_matches('/'), seen, code);
            let key = u64::from(code.index()) << 1 | u64::from(answered.is_cut);
            method.series.with(key, || self.call(&method.name, code, answered), record);
        }
    }

    fn duration(&self, seen: &Observation, route: &Route, answered: &Answered) -> Histogram {
        let status = answered.status_text();
        self.durations.with([
            &self.service,
            seen.method().name(),
            SCHEMES[usize::from(seen.is_secure())],
            route.template(),
            &status,
            answered.error_type(&status),
            seen.version(),
        ])
    }

    fn call(&self, method: &str, code: Code, answered: &Answered) -> Histogram {
        let error = match (answered.is_cut, code.is_fault()) {
            (true, _) => "cancelled",
            (false, true) => code.name(),
            (false, false) => "",
        };
        self.calls.with([&self.service, "grpc", method, code.name(), error])
    }

    /// The method at this path, if it was routed somewhere: a caller can make up others.
    fn method(&self, path: &str, seen: &Observation, code: Code) -> Arc<Method> {
        let known = self.methods.all.load();
        if let Some(method) = known.get(path) {
            return Arc::clone(method);
        }
        let made_up = seen.route().is_none() || code == Code::UNIMPLEMENTED;
        let new = |name: &str| Arc::new(Method { name: name.into(), series: Bound::default() });
        let method = if made_up { None } else { self.methods.get(path, new) };
        method.unwrap_or_else(|| Arc::clone(&self.unknown))
    }
}

/// The trace is an example of the bucket, where it can be looked at.
fn record(series: &Histogram, took: Duration, trace: &TraceContext) {
    let seconds = took.as_secs_f64();
    if trace.is_sampled() {
        series.record_in(seconds, trace.trace_id(), trace.span_id());
    } else {
        series.record(seconds);
    }
}

impl<T: Clone> Seen<T> {
    /// The one of this name, made if there is room for it.
    fn get(&self, name: &str, make: impl FnOnce(&str) -> T) -> Option<T> {
        if let Some(found) = self.all.load().get(name) {
            return Some(found.clone());
        }
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.all.load_full();
        if let Some(found) = known.get(name) {
            return Some(found.clone());
        }
        if known.len() >= ROUTES {
            return None;
        }
        let new = make(name);
        let mut more = HashMap::clone(&known);
        more.insert(name.into(), new.clone());
        self.all.store(Arc::new(more));
        Some(new)
    }
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { all: ArcSwap::default(), growing: Mutex::new(()) }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("service", &self.service()).finish_non_exhaustive()
    }
}
