//! The time of day, which tokens are measured by.

use std::time::{Duration, SystemTime};

/// Tells the time since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    System,
    /// Goes on with tokio's time from when it was made.
    #[cfg(test)]
    Test {
        at: Duration,
        since: tokio::time::Instant,
    },
}

impl Clock {
    pub(crate) fn now(self) -> Duration {
        match self {
            Self::System => system(),
            #[cfg(test)]
            Self::Test { at, since } => at + since.elapsed(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that wall time stands behind")]
fn system() -> Duration {
    // A clock before 1970 makes every token one of the future.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
