//! Metrics for Prometheus, and those of the process itself.
//!
//! [`answer`] is what a scrape gets: OpenMetrics where it asks for it, else Prometheus' text. Names are
//! OpenTelemetry's, translated as its specification says: `http.server.request.duration` in `s` is
//! `http_server_request_duration_seconds`.
//!
//! ```
//! use mainstay_core::metrics::Registry;
//! use mainstay_telemetry::{metrics, resource::Resource};
//!
//! let registry = Registry::new();
//! metrics::observe_process(&registry);
//! let text = metrics::openmetrics(&registry.read(), &Resource::default());
//! assert!(text.ends_with("# EOF\n"));
//! ```
//!
//! **When not to use it**: to send metrics somewhere. This only answers who asks.

mod name;
mod process;
mod runtime;
mod scrape;
mod text;

pub(crate) use name::label_name;
pub use name::prometheus_name;
pub use process::observe as observe_process;
pub use runtime::observe as observe_runtime;
pub use scrape::answer;
pub(crate) use text::le;
pub use text::{openmetrics, prometheus};

#[cfg(test)]
mod tests;
