//! Requests that are answered, and those that are sent, as the semantic conventions of OpenTelemetry (1.37) want them seen: metrics for all of them,
//! a span for those that are recorded, a line in the access log where there is one.
//!
//! A [`Server`] belongs to one service. The [context layer](crate::middleware::context) begins an observation where
//! [`Ambient::with_server`](crate::context::Ambient::with_server) gave it one, and ends it with the last byte of the answer, or
//! where it is dropped before. Which route it was comes from the [route layer](crate::middleware::route), or from
//! [`set_route`] where the program does its own routing.
//!
//! | metric | labels |
//! |---|---|
//! | `http.server.request.duration`, s | `service.name`, `http.request.method`, `url.scheme`, `http.route`, `http.response.status_code`, `error.type`, `network.protocol.version` |
//! | `http.server.active_requests` | `service.name`, `http.request.method`, `url.scheme` |
//! | `rpc.server.call.duration`, s (gRPC) | `service.name`, `rpc.system.name`, `rpc.method`, `rpc.response.status_code`, `error.type` |
//!
//! | `http.client.request.duration`, s | `service.name` (who calls), `http.request.method`, `server.address` (who is called), `url.scheme`, `http.response.status_code`, `error.type`, `network.protocol.version` |
//! | `rpc.client.call.duration`, s (gRPC) | `service.name`, `rpc.system.name`, `rpc.method`, `server.address`, `rpc.response.status_code`, `error.type` |
//!
//! A [`Report`] says what is under way now and where it waits, and which requests were the slowest and which have failed.
//!
//! `service.name` tells the services of one process apart. No label has a value that a caller can make up: a method that
//! is none is `_OTHER`, a path is its route, a gRPC method that no service knows is `_OTHER`.

mod client;
mod grpc;
mod known;
mod method;
pub mod names;
mod observation;
mod requests;
mod route;
mod server;

use std::time::Duration;

pub use client::{Attempt, Client, Failure, Peer};
pub(crate) use observation::{End, Observation};
pub use requests::{Call, Finished, Report, Request, Waiting, waits_for};
pub use route::{Route, set_route};
pub use server::Server;

use crate::{context::TraceContext, metrics::Histogram};

/// A trace that is recorded is an example of the bucket, where it can be looked at.
fn record(series: &Histogram, took: Duration, trace: Option<&TraceContext>) {
    let seconds = took.as_secs_f64();
    match trace {
        Some(trace) => series.record_in(seconds, trace.trace_id(), trace.span_id()),
        None => series.record(seconds),
    }
}

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../../../../docs/troubleshooting.md")]
struct Guide;
