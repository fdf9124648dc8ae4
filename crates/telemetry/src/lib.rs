//! What a Mainstay service tells about itself.
//!
//! Owns: how log events and metrics leave the process. Does not own: what is logged (each crate does), the ids of a request
//! (`mainstay_core::context`).
//!
//! | module | holds |
//! |---|---|
//! | [`bridge`] | spans of `tracing` as spans of the trace |
//! | [`logs`] | log lines: readable on a terminal, JSON elsewhere, with the ids of the request |
//! | [`metrics`] | what a scrape by Prometheus gets; the metrics of the process and its runtime |
//! | `otlp`, `sampling` (feature `otlp`) | spans sent to a receiver of OpenTelemetry, and which ones |
//! | `profile` (feature `profile`, on Unix) | where the process spends its time |
//! | [`redact`] | which fields are told to nobody |
//! | [`resource`] | what the process is |
//! | [`slo`] | objectives, and the alerts and dashboards made of them |
//! | [`mod@test`] | spans, metrics and lines of one test, with assertions |
//!
//! Invariants: nothing here panics but the assertions of `test`, also when it is set up twice; a value that can't be used is refused by its key.

pub mod bridge;
pub mod logs;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(all(feature = "profile", unix))]
pub mod profile;
#[cfg(any(feature = "otlp", all(feature = "profile", unix)))]
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "a profile needs less of it"))]
mod protobuf;
pub mod redact;
pub mod resource;
#[cfg(feature = "otlp")]
pub mod sampling;
pub mod slo;
pub mod test;
