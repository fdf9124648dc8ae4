//! What a probe is told.

use std::time::Duration;

use super::{Kind, State};

/// The answer to a probe.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// What was asked.
    pub kind: Kind,
    /// 200 or 503.
    pub passing: bool,
    /// Why it fails although no check does: the process is starting, or draining.
    pub reason: Option<&'static str>,
    /// The checks of this kind, in the order in which they were registered.
    pub checks: Vec<CheckReport>,
}

/// What is known of one check.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// How long ago the last result came; `None` before the first.
    pub age: Option<Duration>,
    /// What the last result said, if it was a failure. Also set while a passing check is below its threshold.
    pub error: Option<String>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// The gRPC services it counts for; empty: the whole process.
    pub services: Vec<String>,
}
