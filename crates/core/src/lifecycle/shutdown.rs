//! The handle that ends a run.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::{Failure, Signal};

/// Asks the process to drain and stop. Clones share it; the first reason is kept.
#[derive(Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Default)]
struct Inner {
    reason: Mutex<Option<Reason>>,
    requested: CancellationToken,
}

/// Why the process shuts down.
#[derive(Debug)]
pub(super) enum Reason {
    Request,
    Signal(Signal),
    Component { component: String, cause: Failure },
}

impl Shutdown {
    /// A handle that nobody has used.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown, as a first SIGTERM would. Later calls do nothing.
    pub fn trigger(&self) {
        self.begin(Reason::Request);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.0.requested.is_cancelled()
    }

    /// Waits until somebody asks.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn triggered(&self) {
        self.0.requested.cancelled().await;
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.begin(Reason::Signal(signal));
    }

    pub(super) fn fail(&self, component: &str, cause: Failure) {
        self.begin(Reason::Component { component: component.to_owned(), cause });
    }

    pub(super) fn take_reason(&self) -> Option<Reason> {
        self.0.reason.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn begin(&self, reason: Reason) {
        let mut kept = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_triggered() {
            *kept = Some(reason);
            self.0.requested.cancel();
        }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("triggered", &self.is_triggered()).finish_non_exhaustive()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("asked by the program"),
            Self::Signal(signal) => signal.fmt(f),
            Self::Component { component, .. } => write!(f, "component `{component}` stopped working"),
        }
    }
}
