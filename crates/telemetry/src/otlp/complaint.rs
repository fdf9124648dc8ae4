//! What is said in the log of a receiver that does not take what it is sent: once a minute at most.

use std::time::Duration;

use tokio::time::Instant;

use super::transport::Target;

const PAUSE: Duration = Duration::from_secs(60);

/// When it was said last.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    last: Option<Instant>,
    /// It was said, and nothing was taken since.
    is_open: bool,
    /// How many spans were lost in all, when it was said.
    told: u64,
}

impl Complaint {
    /// Whether more was lost than was told, and it is time to say so.
    pub(super) fn is_due(&self, dropped: u64) -> bool {
        dropped > self.told && self.may_speak()
    }

    pub(super) fn make(&mut self, target: &Target, what: &str, dropped: u64) {
        if self.may_speak() {
            self.is_open = true;
            self.last = Some(Instant::now());
            self.told = dropped;
            tracing::warn!(endpoint = %target, error = what, dropped, "spans can't be sent");
        }
    }

    /// It works again. Said only where the contrary was said, so no more often than that.
    pub(super) fn resolve(&mut self, target: &Target) {
        if std::mem::take(&mut self.is_open) {
            tracing::info!(endpoint = %target, "spans are sent again");
        }
    }

    fn may_speak(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= PAUSE)
    }
}
