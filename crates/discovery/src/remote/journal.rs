//! Whether the registry answers: logged when that changes, not at each attempt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::backend::Failure;
use crate::registry::{LastError, Status};

/// What all the work with one registry adds up to: it is connected while none of that fails.
#[derive(Debug)]
pub(super) struct Journal {
    registry: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many pieces of work fail now.
    failing: usize,
    /// Whether any has ever gone well.
    answered: bool,
    since: Instant,
    last_error: Option<(String, Instant)>,
}

/// How one piece of work goes: following a name, keeping a registration.
#[derive(Debug)]
pub(super) struct Standing {
    journal: Arc<Journal>,
    is_failing: bool,
}

impl Journal {
    pub(super) fn new(registry: &'static str) -> Arc<Self> {
        let state = State { failing: 0, answered: false, since: Instant::now(), last_error: None };
        Arc::new(Self { registry, state: Mutex::new(state) })
    }

    pub(super) fn standing(self: &Arc<Self>) -> Standing {
        Standing { journal: self.clone(), is_failing: false }
    }

    /// The part of the status that is about the connection.
    pub(super) fn status(&self) -> Status {
        let state = self.lock();
        Status {
            registry: self.registry,
            is_connected: state.answered && state.failing == 0,
            for_seconds: state.since.elapsed().as_secs_f64(),
            last_error: state.last_error.as_ref().map(|(message, at)| LastError {
                message: message.clone(),
                seconds_ago: at.elapsed().as_secs_f64(),
            }),
            ..Status::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// It went well.
    pub(super) fn well(&mut self) {
        let registry = self.journal.registry;
        let mut state = self.journal.lock();
        let mut is_news = !std::mem::replace(&mut state.answered, true);
        if std::mem::take(&mut self.is_failing) {
            state.failing -= 1;
            is_news = true;
        }
        if state.failing == 0 && is_news {
            state.since = Instant::now();
            drop(state);
            tracing::info!(registry, "the registry answers");
        }
    }

    /// It failed.
    pub(super) fn failed(&mut self, failure: &Failure) {
        let registry = self.journal.registry;
        let mut state = self.journal.lock();
        state.last_error = Some((failure.to_string(), Instant::now()));
        if std::mem::replace(&mut self.is_failing, true) {
            return;
        }
        state.failing += 1;
        if state.failing == 1 {
            state.since = Instant::now();
            drop(state);
            tracing::warn!(registry, error = %failure, "the registry does not answer; what was known stays in use");
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.is_failing {
            let mut state = self.journal.lock();
            state.failing -= 1;
            // Nobody tries any more, so nobody knows: the next one to try finds out.
            state.answered &= state.failing > 0;
        }
    }
}
