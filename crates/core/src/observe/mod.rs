//! Requests that are answered, as the semantic conventions of OpenTelemetry (1.37) want them seen: metrics for all of them,
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
//! `service.name` tells the services of one process apart. No label has a value that a caller can make up: a method that
//! is none is `_OTHER`, a path is its route, a gRPC method that no service knows is `_OTHER`.

mod grpc;
mod method;
mod observation;
mod route;
mod server;

pub(crate) use observation::{End, Observation};
pub use route::{Route, set_route};
pub use server::Server;

#[cfg(test)]
mod tests;
