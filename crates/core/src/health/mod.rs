//! Whether the process is alive, started and ready (contract HEALTH 1 to 3).
//!
//! A [`Registry`] runs [`Check`]s in the background, each in its own task with its own interval and timeout, and
//! keeps what they said last. A probe reads that and never waits for a check, so a hung dependency can't hang a probe.
//!
//! | kind | asks | answered at | what the platform does when it fails |
//! |---|---|---|---|
//! | [`Kind::Startup`] | has it started? | `/startupz` | waits, then restarts |
//! | [`Kind::Readiness`] | may it get traffic now? | `/readyz`, `grpc.health.v1` | sends the traffic elsewhere |
//! | [`Kind::Liveness`] | is the process itself broken beyond repair? | `/livez` | **restarts it** |
//!
//! A liveness check must not look at dependencies: with the database down, every copy would be restarted, over and
//! over, on top of the outage. Most services need no liveness check at all; that the probe is answered says that the
//! runtime still runs.

mod check;

mod registry;
mod report;
mod runner;

pub use check::{Check, Kind, State};
pub use registry::{Registry, ServiceStatus};
pub use report::{CheckReport, Report};

#[cfg(doctest)]
#[doc = include_str!("../../../../docs/health.md")]
struct Guide;

#[cfg(test)]
mod tests;
