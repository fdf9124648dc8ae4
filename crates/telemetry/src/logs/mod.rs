//! Log lines.
//!
//! [`init`] takes all `tracing` events of the process from then on: as text where the output is a terminal, else one
//! JSON object a line. Inside a request each line carries the request's `trace_id` and `request_id`, also where the
//! event does not say them, also in work that was spawned through `mainstay_core::task`.
//!
//! ```json
//! {"timestamp":"2026-11-21T09:30:00.123456Z","severity":"INFO","target":"shop::orders","message":"placed",
//!  "fields":{"items":3},"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","request_id":"r-17"}
//! ```
//! (on one line). Span names and fields are in `spans`, the outermost first, where there are any.
//!
//! **Which events**: the directives in the environment variable `RUST_LOG` where it is set and not empty, else
//! `log.filter` of the configuration, else `info`. [`Handle::set_filter`] changes them while the process runs.
//!
//! **When not to use it**: where the program sets up its own subscriber; [`init`] then changes nothing and says so.
//! Lines are written by the thread that logs: an output that nobody reads holds it up.
//!
//! ```no_run
//! use mainstay_telemetry::logs;
//!
//! let logs = logs::init(&logs::Config::default())?;
//! tracing::info!(items = 3, "placed");
//! logs.set_filter("info,shop=debug")?;
//! # Ok::<(), logs::Error>(())
//! ```

mod config;
mod error;
mod ids;
mod init;
mod json;
mod text;

pub use config::{Config, Format, Output};
pub use error::Error;
pub use init::{Handle, init};

#[cfg(test)]
mod tests;
