//! The time of day, for what is shown to people and other machines. What is waited for goes by `tokio::time::Instant`.

use std::time::SystemTime;

/// Now.
#[expect(clippy::disallowed_methods, reason = "this is the clock that wall time stands behind")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}
