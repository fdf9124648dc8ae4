//! The end of a task that still has something to send.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Told to stop, and the end of the time for that.
pub(super) struct Stopping {
    pub(super) token: CancellationToken,
    within: Duration,
    pub(super) until: Option<Instant>,
}

impl Stopping {
    pub(super) fn new(token: CancellationToken, within: Duration) -> Self {
        Self { token, within, until: None }
    }

    pub(super) fn is_told(&mut self) -> bool {
        if self.until.is_none() && self.token.is_cancelled() {
            self.until = Some(Instant::now() + self.within);
        }
        self.until.is_some()
    }

    /// Until the time to stop is over as well.
    pub(super) async fn over(&mut self) {
        if !self.is_told() {
            self.token.cancelled().await;
        }
        self.is_told();
        if let Some(until) = self.until {
            sleep_until(until).await;
        }
    }
}
