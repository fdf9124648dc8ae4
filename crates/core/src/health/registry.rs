//! The registry: all checks of a process and what they said last.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{Check, CheckReport, Kind, Report, State, check::Tally, runner};
use crate::{
    metrics::{Definition, Observations},
    task::Tasks,
};

/// Whether a gRPC service serves; `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceStatus {
    /// It serves.
    Serving,
    /// It does not, now.
    NotServing,
}

/// All checks of a process. Clones share it.
///
/// Not ready, and not started, until [`Registry::start`]; not ready ever again after [`Registry::drain`].
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

/// The registry as its own tasks hold it.
pub(super) struct Weak(std::sync::Weak<Shared>);

struct Shared {
    state: Mutex<Inner>,
    /// Counts changes of what a probe would be told.
    changes: watch::Sender<u64>,
    tasks: Tasks,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    services: BTreeMap<String, ServiceStatus>,
    started: bool,
    draining: bool,
    closed: bool,
}

struct Entry {
    check: Check,
    tally: Tally,
    at: Option<Instant>,
}

impl Registry {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            tasks: Tasks::new(),
        }))
    }

    /// Adds a check. It runs from [`Registry::start`] on, or at once where that has been called.
    ///
    /// # Panics
    /// After [`Registry::start`], outside of a tokio runtime.
    pub fn register(&self, check: Check) {
        let index = {
            let mut inner = self.lock();
            let tally = Tally::new(check.initial);
            inner.entries.push(Entry { check: check.clone(), tally, at: None });
            if !inner.started || inner.closed {
                return;
            }
            inner.entries.len() - 1
        };
        self.changed();
        self.run(index, check);
    }

    /// Adds a gRPC service by its full name (`package.Service`). It serves whenever the process is ready and the
    /// checks made for it ([`Check::for_service`]) pass, unless [`Registry::set_service`] says otherwise.
    pub fn add_service(&self, full_name: impl Into<String>) {
        self.set_service(full_name, ServiceStatus::Serving);
    }

    /// What the program says of a service; it serves if this, its checks and the process all do.
    pub fn set_service(&self, full_name: impl Into<String>, status: ServiceStatus) {
        self.lock().services.insert(full_name.into(), status);
        self.changed();
    }

    /// Every component has started: runs the checks. The process is ready when each has passed once.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(&self) {
        let checks: Vec<Check> = {
            let mut inner = self.lock();
            if inner.started || inner.closed {
                return;
            }
            inner.started = true;
            inner.entries.iter().map(|entry| entry.check.clone()).collect()
        };
        self.changed();
        for (index, check) in checks.into_iter().enumerate() {
            self.run(index, check);
        }
    }

    /// The process drains: not ready and serving nothing from now on, whatever the checks say.
    pub fn drain(&self) {
        self.lock().draining = true;
        self.changed();
    }

    /// Ends the `Watch` streams of gRPC, so that they don't hold up the drain.
    pub fn close(&self) {
        {
            let mut inner = self.lock();
            inner.draining = true;
            inner.closed = true;
        }
        self.changed();
    }

    /// Stops running checks and waits for the tasks, at most `bound`. What they said last stays.
    ///
    /// # Cancel safety
    /// Dropping it leaves the checks told to stop.
    pub async fn stop(&self, bound: Duration) {
        self.close();
        if let Err(error) = self.0.tasks.stop(bound).await {
            tracing::warn!(remaining = error.remaining, "health checks were still running");
        }
    }

    /// What a probe of this kind is told. Never waits.
    #[must_use]
    pub fn report(&self, kind: Kind) -> Report {
        let inner = self.lock();
        let now = Instant::now();
        let checks = inner.entries.iter().filter(|entry| entry.check.kind == kind);
        let checks = checks.map(|entry| entry.report(now)).collect();
        let (passing, reason) = inner.verdict(kind);
        Report { kind, passing, reason, checks }
    }

    /// Tells the metrics of all checks: `mainstay.health.check`, 1 while it passes, and `mainstay.health.ready`.
    pub fn observe(&self, to: &mut Observations) {
        let check = Definition::new("mainstay.health.check", "", "Whether the check passes");
        for kind in [Kind::Readiness, Kind::Liveness, Kind::Startup] {
            for report in self.report(kind).checks {
                let labels = [("check", &*report.name), ("kind", kind.as_str())];
                to.gauge(&check, labels, f64::from(u8::from(report.state == State::Passing)));
            }
        }
        let ready = Definition::new("mainstay.health.ready", "", "Whether the process may get traffic");
        to.gauge(&ready, [], f64::from(u8::from(self.is_ready())));
    }

    /// Whether the process may get traffic: what `/readyz` says.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().verdict(Kind::Readiness).0
    }

    /// Waits until the process is ready.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn ready(&self) {
        let mut changes = self.subscribe();
        // The sender lives as long as `self`: an error can't come.
        while !self.is_ready() && changes.changed().await.is_ok() {}
    }

    /// The status of a gRPC service, `""` for the whole process; `None` if it is not known.
    #[must_use]
    pub fn service(&self, full_name: &str) -> Option<ServiceStatus> {
        self.lock().service(full_name)
    }

    /// The status of the process (`""`) and of all services, by name.
    #[must_use]
    pub fn services(&self) -> BTreeMap<String, ServiceStatus> {
        let inner = self.lock();
        let names = std::iter::once("").chain(inner.services.keys().map(String::as_str));
        names.filter_map(|name| Some((name.to_owned(), inner.service(name)?))).collect()
    }

    /// Changes whenever a probe might be told something else.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whether [`Registry::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes a result in; says whether the check will be asked again.
    pub(super) fn count(&self, index: usize, result: Result<(), String>) -> Option<Duration> {
        let (changed, next) = {
            let mut inner = self.lock();
            let entry = inner.entries.get_mut(index)?;
            let changed = entry.count(result);
            (changed, entry.next())
        };
        if changed {
            self.changed();
        }
        next
    }

    fn run(&self, index: usize, check: Check) {
        let stopping = self.0.tasks.stopping();
        let registry = Weak(Arc::downgrade(&self.0));
        self.0.tasks.spawn_detached(runner::run(registry, index, check, stopping));
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can leave it half changed.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Weak {
    pub(super) fn upgrade(&self) -> Option<Registry> {
        self.0.upgrade().map(Registry)
    }
}

/// Without anybody to read them the checks end.
impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

impl Inner {
    fn verdict(&self, kind: Kind) -> (bool, Option<&'static str>) {
        let all = self
            .entries
            .iter()
            .filter(|entry| entry.check.kind == kind && entry.check.services.is_empty())
            .all(Entry::counts_as_passing);
        match kind {
            Kind::Liveness => (all, None),
            Kind::Startup | Kind::Readiness if !self.started => (false, Some("starting")),
            Kind::Startup => (all, None),
            Kind::Readiness if self.draining => (false, Some("draining")),
            Kind::Readiness => (all && self.verdict(Kind::Startup).0, None),
        }
    }

    fn service(&self, full_name: &str) -> Option<ServiceStatus> {
        let said = match full_name {
            "" => ServiceStatus::Serving,
            _ => *self.services.get(full_name)?,
        };
        let own = self
            .entries
            .iter()
            .filter(|entry| entry.check.services.iter().any(|name| name == full_name))
            .all(Entry::counts_as_passing);
        let serving = said == ServiceStatus::Serving && own && self.verdict(Kind::Readiness).0;
        Some(if serving { ServiceStatus::Serving } else { ServiceStatus::NotServing })
    }
}

impl Entry {
    fn counts_as_passing(&self) -> bool {
        match self.tally.state {
            State::Passing => true,
            State::Failing => false,
            State::Pending => self.check.kind == Kind::Liveness,
        }
    }

    fn count(&mut self, result: Result<(), String>) -> bool {
        let error = result.as_ref().err().cloned();
        let changed = self.tally.count(result, self.check.thresholds);
        self.at = Some(Instant::now());
        let (name, kind) = (self.check.name.as_str(), self.check.kind);
        match (changed, self.tally.state) {
            (true, State::Failing) => {
                tracing::warn!(check = name, ?kind, error = error.unwrap_or_default(), "health check fails");
            }
            (true, _) => tracing::info!(check = name, ?kind, "health check passes"),
            (false, _) => {}
        }
        changed
    }

    /// When to ask again; `None`: not any more.
    fn next(&self) -> Option<Duration> {
        /// Until the first success a start-up waits for this check.
        const EAGER: Duration = Duration::from_secs(1);
        match (self.check.kind, self.tally.has_passed) {
            (Kind::Startup, true) => None,
            (_, true) => Some(self.check.interval),
            (_, false) => Some(self.check.interval.min(EAGER)),
        }
    }

    fn report(&self, now: Instant) -> CheckReport {
        CheckReport {
            name: self.check.name.clone(),
            state: self.tally.state,
            age: self.at.map(|at| now.saturating_duration_since(at)),
            error: self.tally.error.clone(),
            consecutive_failures: self.tally.failures,
            services: self.check.services.clone(),
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Registry")
            .field("checks", &inner.entries.len())
            .field("services", &inner.services.len())
            .field("started", &inner.started)
            .field("draining", &inner.draining)
            .finish_non_exhaustive()
    }
}
