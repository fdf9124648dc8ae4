use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    grpc::Code,
    known::Seen,
    method::Known,
    names,
    observation::{Answered, Observation},
    record,
    requests::{Flights, WINDOW},
    route::{Bound, Route},
};
use crate::{
    context::{RequestContext, TraceContext},
    metrics::{Definition, Family, Histogram, Registry, Rejected, UpDownCounter},
    trace::Tracer,
};

/// Observes the requests of one service. Clones are the same one.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

pub(super) struct Inner {
    pub(super) service: Arc<str>,
    pub(super) tracer: Tracer,
    pub(super) access_log: bool,
    actives: Family<UpDownCounter, 3>,
    active: [[OnceLock<UpDownCounter>; 2]; Known::COUNT],
    pub(super) in_flight: Flights<RequestContext>,
    /// The slowest requests are those of a window of time; the windows are counted from here.
    began: Instant,
    window: AtomicU64,
    durations: Family<Histogram, 7>,
    calls: Family<Histogram, 5>,
    pub(super) routes: Seen<Route>,
    pub(super) unrouted: Route,
    methods: Seen<Arc<Method>>,
    unknown: Arc<Method>,
}

/// A method of gRPC.
pub(super) struct Method {
    /// `package.Service/Method`.
    pub(super) name: Box<str>,
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
        let actives = registry.up_down_counter(
            Definition::new(names::ACTIVE_REQUESTS, "{request}", "Requests that are being answered"),
            [names::SERVICE, names::METHOD, "url.scheme"],
        )?;
        let durations = registry.histogram(
            Definition::new(
                names::REQUEST_DURATION,
                "s",
                "How long requests took, to the last byte of the answer",
            ),
            [
                names::SERVICE,
                names::METHOD,
                "url.scheme",
                names::ROUTE,
                "http.response.status_code",
                names::ERROR_TYPE,
                "network.protocol.version",
            ],
        )?;
        let calls = registry.histogram(
            Definition::new(names::CALL_DURATION, "s", "How long gRPC calls took, to the end of the answer"),
            [
                names::SERVICE,
                "rpc.system.name",
                names::RPC_METHOD,
                "rpc.response.status_code",
                names::ERROR_TYPE,
            ],
        )?;
        Ok(Self(Arc::new(Inner {
            service: service.into(),
            tracer,
            access_log: false,
            actives,
            active: Default::default(),
            in_flight: Flights::default(),
            began: Instant::now(),
            window: AtomicU64::new(1),
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
            .get_or_init(|| self.actives.with([&self.service, method.name(), SCHEMES[secure]]))
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
        let record =
            |series: &Histogram| record(series, took, Some(trace).filter(|trace| trace.is_sampled()));
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
        let error = match (code.is_fault(), answered.is_cut) {
            (true, _) => code.name(),
            (false, true) => "cancelled",
            (false, false) => "",
        };
        self.calls.with([&self.service, "grpc", method, code.name(), error])
    }

    /// The number of the window that requests end in.
    pub(super) fn window(&self) -> u64 {
        self.window.load(Relaxed)
    }

    /// Begins the window of this time, if that is a new one; says when it ends.
    #[cold]
    pub(super) fn turn(&self, now: Instant) -> Instant {
        let past = now.saturating_duration_since(self.began).as_secs() / WINDOW.as_secs();
        self.window.fetch_max(past + 1, Relaxed);
        self.began + Duration::from_secs((past + 1) * WINDOW.as_secs())
    }

    /// The method of gRPC at this path, where it was called before.
    pub(super) fn known_method(&self, path: &str) -> Option<Arc<Method>> {
        self.methods.find(path.trim_start_matches('/'))
    }

    /// The method at this path, if it was routed somewhere: a caller can make up others.
    fn method(&self, path: &str, seen: &Observation, code: Code) -> Arc<Method> {
        if let Some(method) = self.methods.find(path) {
            return method;
        }
        let made_up = seen.route().is_none() || code == Code::UNIMPLEMENTED;
        let new = |name: &str| Arc::new(Method { name: name.into(), series: Bound::default() });
        let method = if made_up { None } else { self.methods.get(path, new) };
        method.unwrap_or_else(|| Arc::clone(&self.unknown))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("service", &self.service()).finish_non_exhaustive()
    }
}
