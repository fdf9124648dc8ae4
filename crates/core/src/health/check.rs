//! One check, and the rule by which its results become a state.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use crate::{Result, lifecycle::BoxFuture};

/// What a check is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Whether the process may get traffic now.
    Readiness,
    /// Whether the process is broken beyond repair. Never looks at dependencies.
    Liveness,
    /// Whether the process has started. Once passed it is not run again.
    Startup,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
            Self::Startup => "startup",
        }
    }
}

/// What is known of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing yet. Counts as failing, except for liveness.
    Pending,
    /// It passes.
    Passing,
    /// It fails.
    Failing,
}

/// A check: a name, what it is for, how to ask, and how often.
///
/// Defaults: every 10 s, 5 s timeout, three failures in a row until a passing check fails, one success until a
/// failing one passes. Until its first success it is asked every second at least.
///
/// ```
/// use std::time::Duration;
/// use mainstay_core::{Error, error::Kind, health::{Check, Registry}};
///
/// let health = Registry::new();
/// health.register(
///     Check::readiness("database", || async {
///         // a cheap query; an `Err` is a failure, its text is shown by `/readyz?verbose`
///         Ok(())
///     })
///     .with_interval(Duration::from_secs(5))
///     .with_timeout(Duration::from_secs(1)),
/// );
/// ```
#[derive(Clone)]
pub struct Check {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) thresholds: Thresholds,
    pub(super) initial: State,
    pub(super) services: Vec<String>,
    pub(super) ask: Arc<dyn Fn() -> BoxFuture<Result<()>> + Send + Sync>,
}

/// How many results in a row change the state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thresholds {
    pub(super) failure: u32,
    pub(super) success: u32,
}

impl Check {
    /// A check of whether the process may get traffic.
    pub fn readiness<F, R>(name: impl Into<String>, ask: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        Self::new(name.into(), Kind::Readiness, ask)
    }

    /// A check of whether the process is beyond repair: it will be restarted. Must not look at dependencies.
    pub fn liveness<F, R>(name: impl Into<String>, ask: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        Self::new(name.into(), Kind::Liveness, ask)
    }

    /// A check of whether the process has started.
    pub fn startup<F, R>(name: impl Into<String>, ask: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        Self::new(name.into(), Kind::Startup, ask)
    }

    fn new<F, R>(name: String, kind: Kind, ask: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        Self {
            name,
            kind,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            thresholds: Thresholds { failure: 3, success: 1 },
            initial: State::Pending,
            services: Vec::new(),
            ask: Arc::new(move || Box::pin(ask())),
        }
    }

    /// How long from one result to the next question; at least 10 ms.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(10));
        self
    }

    /// After which time without an answer the check counts as failed; it is dropped then.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many failures in a row make a passing check failing; at least 1.
    #[must_use]
    pub fn with_failure_threshold(mut self, failures: u32) -> Self {
        self.thresholds.failure = failures.max(1);
        self
    }

    /// How many successes in a row make a failing check passing; at least 1.
    #[must_use]
    pub fn with_success_threshold(mut self, successes: u32) -> Self {
        self.thresholds.success = successes.max(1);
        self
    }

    /// The state until the first result: [`State::Pending`] if not said.
    #[must_use]
    pub fn with_initial(mut self, state: State) -> Self {
        self.initial = state;
        self
    }

    /// Makes a readiness check count for this gRPC service alone, by its full name; may be said several times. It
    /// then no longer counts for the process: `/readyz` lists it and does not fail with it.
    #[must_use]
    pub fn for_service(mut self, full_name: impl Into<String>) -> Self {
        self.services.push(full_name.into());
        self
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The state of a check and what led to it.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) state: State,
    pub(super) failures: u32,
    pub(super) successes: u32,
    pub(super) has_passed: bool,
    pub(super) error: Option<String>,
}

impl Tally {
    pub(super) fn new(initial: State) -> Self {
        Self { state: initial, failures: 0, successes: 0, has_passed: initial == State::Passing, error: None }
    }

    /// Counts a result; says whether the state changed.
    ///
    /// The first result decides at once, the thresholds only guard a state that was once known.
    pub(super) fn count(&mut self, result: Result<(), String>, thresholds: Thresholds) -> bool {
        let before = self.state;
        match result {
            Ok(()) => {
                self.successes = self.successes.saturating_add(1);
                self.failures = 0;
                self.error = None;
                if !self.has_passed || self.successes >= thresholds.success {
                    self.state = State::Passing;
                    self.has_passed = true;
                }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.successes = 0;
                self.error = Some(error);
                if self.state == State::Pending || self.failures >= thresholds.failure {
                    self.state = State::Failing;
                }
            }
        }
        before != self.state
    }
}
