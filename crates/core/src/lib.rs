//! The service runtime of Mainstay.
//!
//! Owns: configuration, lifecycle, health, errors and their mapping to HTTP and gRPC, the request context, the
//! server, the server-side layers and the admin listener. Does not own: who the caller is (`mainstay-auth`), how
//! spans and metrics leave the process (`mainstay-telemetry`), outgoing calls (`mainstay-client`).
//!
//! | module | holds |
//! |---|---|
//! | [`admin`] | the admin listener's routes: probes, status, pages |
//! | [`config`] | the configuration: read in layers, checked whole, every value with its origin |
//! | [`context`] | what travels with one request: deadline, criticality, attempt, request and trace ids |
//! | [`credentials`] | what a call shows for itself |
//! | [`error`] | one error type, its kinds, and the one table that maps them to HTTP and gRPC |
//! | [`extract`] | axum extractors whose rejections are problems that name the field |
//! | [`file`](mod@file) | files that settings name, read while the process runs |
//! | `grpc` | the health and reflection services of gRPC (feature `grpc`) |
//! | [`health`] | whether the process is alive, started and ready |
//! | [`lifecycle`] | start, drain and stop: components, phases, signals, exit codes |
//! | [`metrics`] | counters, gauges and histograms, and the registry that they are read from |
//! | [`middleware`] | the server-side layers; each works alone in axum, tonic and hyper |
//! | [`observe`] | requests that are answered, as the semantic conventions want them measured and recorded |
//! | [`panics`] | panics as log lines |
//! | [`server`] | the accept loop, protocols on one port, bounds, drain |
//! | [`task`] | the only place that spawns: tasks have an owner and carry the request's context |
//! | `tls` | PEM files that settings name, and what is made of them, reloaded (feature `tls`) |
//! | [`trace`] | spans: which are recorded, and what of them |
//!
//! Invariants: what a peer sends never panics; every wait has a bound; nothing is spawned without an owner.

pub mod admin;
mod clock;
pub mod config;
pub mod context;
pub mod credentials;
pub mod error;
pub mod extract;
pub mod file;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod health;
pub mod lifecycle;
pub mod metrics;
pub mod middleware;
pub mod observe;
pub mod panics;
pub mod server;
pub mod task;
#[cfg(feature = "tls")]
pub mod tls;
pub mod trace;

pub use error::{Error, Result};

/// The body that crosses the seams of the framework: the route table, the client, the in-process call.
///
/// Layers stay generic over their body; it is boxed once, where a request enters the route table.
pub use axum::body::Body;

/// A type-erased error, as tower's generic layers use it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
