//! Calls to other services by their logical name: over HTTP, over gRPC, or as a function of the same process.
//!
//! Owns: the way out of a service: deadlines and context of outgoing calls, retries within a budget, balancing,
//! connections, in-process calls. Does not own: where endpoints come from (`mainstay-discovery`).
//!
//! ```
//! use mainstay_client::{Client, discovery::fixed::Fixed};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let services = Fixed::new().with("inventory", ["http://127.0.0.1:8082".parse()?])?;
//! let client = Client::new(services);
//!
//! let item: serde_json::Value =
//!     client.get("http://inventory/items/7").send().await?.error_for_status()?.json().await?;
//! # Ok(()) }
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`Client`] | one value for all calls; [`RequestBuilder`] and [`Response`] for those written by hand |
//! | [`Operation`] | an operation of another service with its types: what is called, and what is relied on |
//! | `grpc::Channel` | the same under a tonic client (feature `grpc`) |
//! | [`Locals`] | the services of this process, called as functions |
//! | [`error`] | what can go wrong, by event |
//! | [`config`] | the settings: for all services, and what is different for one |
//! | `call` | one call: attempts until one is answered |
//! | `outgoing` | the headers that carry deadline, ids and criticality |
//! | [`retry`] | what may be sent again, and how often |
//! | [`hedge`] | a second request where the first takes longer than most |
//! | [`breaker`] | when a service that keeps failing is left alone |
//! | [`limit`] | how many requests an endpoint is sent at once |
//! | `latency` | how long a service takes to answer, as live percentiles |
//! | [`state`] | what the client knows of the services, for people and pages |
//! | `target` | one service that is called |
//! | [`balance`] | which endpoint: by load, in turn or by a key; those that fail are avoided |
//! | `check` | health checks, where they are configured |
//! | `warm` | connections that are opened ahead, where that is configured |
//! | [`pool`] | connections, a set for each runtime, so that worker threads share no lock |
//! | [`tls`] | TLS to endpoints: the settings, and the handshake (feature `tls`) |
//!
//! Invariants: each await is bounded by the deadline of the call; what was not safe to send twice is sent once;
//! dropping the future of a call ends the work on its behalf; a listed endpoint is never given up.
//!
//! Features: `grpc` adds the module `grpc`; `tls` speaks TLS to endpoints that are listed so.

pub mod balance;
mod body;
pub mod breaker;
mod call;
mod check;
mod client;
pub mod config;
mod credentials;
pub mod error;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod hedge;
mod latency;
pub mod limit;
mod local;
mod operation;
mod outgoing;
pub mod pool;
mod request;
mod response;
pub mod retry;
pub mod state;
mod target;
pub mod tls;
mod warm;

pub use client::{Builder, Client, ResponseFuture};
pub use config::Config;
pub use error::Error;
pub use local::Locals;
pub use mainstay_discovery as discovery;
pub use operation::{Answer, Call, Operation};
pub use request::RequestBuilder;
pub use response::Response;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/client.md")]
struct Guide;
