//! What is said in the log of a receiver that does not take what it is sent: once a minute at most.

use std::time::Duration;

use tokio::time::Instant;

use super::{config::Signal, transport::Target};

const PAUSE: Duration = Duration::from_secs(60);

/// When it was said last.
#[derive(Debug)]
pub(super) struct Complaint {
    signal: Signal,
    last: Option<Instant>,
    /// It was said, and nothing was taken since.
    is_open: bool,
    /// How many spans were lost in all, when it was said.
    told: u64,
}

impl Complaint {
    pub(super) fn new(signal: Signal) -> Self {
        Self { signal, last: None, is_open: false, told: 0 }
    }

    /// Whether more was lost than was told, and it is time to say so.
    pub(super) fn is_due(&self, dropped: u64) -> bool {
        dropped > self.told && self.may_speak()
    }

    pub(super) fn make(&mut self, target: &Target, what: &str, dropped: Option<u64>) {
        if self.may_speak() {
            self.is_open = true;
            self.last = Some(Instant::now());
            self.told = dropped.unwrap_or_default();
            tracing::warn!(endpoint = %target, error = what, dropped, "{} can't be sent", self.signal);
        }
    }

    /// It works again. Said only where the contrary was said, so no more often than that.
    pub(super) fn resolve(&mut self, target: &Target) {
        if std::mem::take(&mut self.is_open) {
            tracing::info!(endpoint = %target, "{} are sent again", self.signal);
        }
    }

    fn may_speak(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= PAUSE)
    }
}
