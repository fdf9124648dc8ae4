//! Spans of `tracing` join the trace of the request.
//!
//! [`Bridge`] is a layer of tracing-subscriber, and part of what [`crate::logs::init`] sets up. Where a request is recorded, each
//! span of `tracing` that begins in it (`#[instrument]`, `info_span!`) becomes a span of its trace: a child of the
//! innermost span that is open there, its fields as attributes, events within it as its events. While it is entered it is
//! [`Span::current`](mainstay_core::trace::Span::current), so that calls and spans made through `mainstay_core` are its
//! children.
//!
//! ```
//! use mainstay_telemetry::bridge::Bridge;
//! use tracing_subscriber::{Layer as _, filter::LevelFilter, layer::SubscriberExt as _};
//!
//! let bridge = Bridge::new();
//! let whenever_recorded = bridge.filter(LevelFilter::INFO);
//! let subscriber = tracing_subscriber::registry().with(bridge.with_filter(whenever_recorded));
//! # drop(subscriber);
//! ```
//!
//! **Which**: what the filter lets through; with `logs::init` that is `log.spans`, whatever `log.filter` says. What a span is
//! made of can be said with the fields `otel.name`, `otel.kind` (`server`, `client`, `producer`, `consumer`, `internal`),
//! `otel.status_code` (`ok`, `error`) and `otel.status_description`. An event of level `ERROR` within it makes it one that
//! failed; the span of the request itself fails by its answer alone. Values of redacted fields are left out
//! ([`Redact`](crate::redact::Redact)).
//!
//! **Parents**: a span given by `parent:`, if it is recorded; else what is current here. That of another request is not made
//! current, also where a task that began in one request is polled in another. `parent: None` keeps a span out of the trace.
//! Work that is spawned through `mainstay_core::task` belongs to the span that spawned it.
//!
//! **When not to use it**: where spans are recorded by the opentelemetry crates; they have a bridge of their own.
//!
//! **Cost**: where nothing is recorded the filter says no before anything is made of the span: it has a place in the registry of
//! tracing-subscriber, which is used again, and nothing is allocated.
//!
//! **On drop**: a span ends when `tracing` closes it: with its last handle, and after its children of `tracing`.

mod attributes;
mod entered;
mod filter;
mod layer;

pub use filter::Recorded;
pub use layer::Bridge;

#[cfg(test)]
mod tests;
