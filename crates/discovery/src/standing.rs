//! How a registry answers, whatever it is asked for.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::registry::{LastError, Status};

/// How a registry has answered lately.
#[derive(Debug)]
pub(crate) struct Standing(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    is_connected: bool,
    since: Instant,
    last_error: Option<(String, Instant)>,
}

impl Default for Standing {
    fn default() -> Self {
        Self(Mutex::new(Inner { is_connected: false, since: Instant::now(), last_error: None }))
    }
}

impl Standing {
    pub(crate) fn answered(&self) {
        self.change(true, |_| {});
    }

    pub(crate) fn failed(&self, failure: String) {
        self.change(false, |inner| inner.last_error = Some((failure, Instant::now())));
    }

    pub(crate) fn status(&self, registry: &'static str) -> Status {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last_error = inner.last_error.as_ref().map(|(message, at)| LastError {
            message: message.clone(),
            seconds_ago: at.elapsed().as_secs_f64(),
        });
        Status {
            registry,
            is_connected: inner.is_connected,
            for_seconds: inner.since.elapsed().as_secs_f64(),
            last_error,
            ..Status::default()
        }
    }

    fn change(&self, is_connected: bool, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.is_connected != is_connected {
            inner.is_connected = is_connected;
            inner.since = Instant::now();
        }
        change(&mut inner);
    }
}
