//! Log lines.
//!
//! [`init`] takes all `tracing` events of the process from then on: as text where the output is a terminal, else one
//! JSON object a line. Inside a request each line carries its `trace_id`, `span_id` and `request_id`, also where the
//! event does not say them, also in work that was spawned through `mainstay_core::task`.
//!
//! ```json
//! {"timestamp":"2026-11-21T09:30:00.123456Z","severity_text":"INFO","severity_number":9,"scope":"shop::orders",
//!  "body":"placed","attributes":{"items":3},"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",
//!  "span_id":"00f067aa0ba902b7","request_id":"r-17"}
//! ```
//! (on one line). The names are those of OpenTelemetry's log data model; `scope` is the target that `log.filter` goes by. Span names
//! and fields are in `spans`, the outermost first, where there are any. `span_id` is that of the innermost span which is
//! recorded, else that of the request.
//!
//! **Secrets**: values of fields named in `log.redact` are written as `[redacted]`, in lines and in spans of the trace that are sent. By
//! default those are left out that are secrets by their name ([`Redact`](crate::redact::Redact)). What stands in a
//! message is written as it is.
//!
//! **Which events**: the directives in the environment variable `RUST_LOG` where it is set and not empty, else
//! `log.filter` of the configuration, else `info`. [`Handle::set_filter`] changes them while the process runs,
//! [`Handle::set_filter_for`] for some time.
//!
//! **Lines that repeat**: beyond `log.repeats.limit` lines of one place in the code within `log.repeats.window` they are counted,
//! and told as one line ([`repeats`]).
//!
//! **Panics** are lines too ([`mainstay_core::panics`]), once [`init`] was called.
//!
//! **Log records**: with the feature `otlp` lines can be sent as such besides (`Handle::send_to`).
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
mod escape;
mod ids;
mod init;
mod json;
mod levels;
pub mod repeats;
#[cfg(feature = "otlp")]
mod sent;
mod text;
mod timestamp;

pub use config::{Config, Format, Output};
pub use error::Error;
pub use init::init;
pub(crate) use init::subscriber;
pub use levels::{Handle, Levels};

#[cfg(test)]
mod tests;
