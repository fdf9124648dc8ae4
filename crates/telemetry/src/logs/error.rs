//! Why logs can't be set up.

use super::config::EXPECTED;

/// Why logs can't be set up, or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Directives that can't be read.
    #[error("{key} is `{value}`, expected {EXPECTED}")]
    #[non_exhaustive]
    Filter {
        /// `log.filter`, `RUST_LOG`, or `filter` for what was asked for.
        key: &'static str,
        /// The directives.
        value: String,
    },
    /// The process has a subscriber; it was left as it is.
    #[error("the process has a tracing subscriber already, it was left as it is")]
    AlreadySet,
    /// The subscriber of the handle is gone.
    #[error("the logs were replaced")]
    Replaced,
}
