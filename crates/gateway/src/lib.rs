//! An API gateway built from the layers of Mainstay.
//!
//! Owns: routes, and what happens to a request between the edge and the service behind it. Does not own: the server
//! in front of it, the client behind it, or any layer of either; a gateway is a service like any other.
//!
//! ```text
//! request ─ path check ─ route (host, path, method) ─ may they ─ hop-by-hop off ─ Forwarded, Via on ─ client ─ service
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | what the gateway is told |
//! | [`Gateway`] | the gateway as a `tower::Service`, and as an axum router |
//!
//! Invariants: bodies are streamed both ways and never collected; what a caller sends decides neither its route's
//! cost nor what the service behind believes about the caller; every wait is bounded by the route's timeout.
//!
//! ```
//! use mainstay_gateway::{Config, Gateway, config::Route};
//! # use mainstay_core::Body;
//! # #[derive(Clone)] struct Client;
//! # impl tower_service::Service<http::Request<Body>> for Client {
//! #     type Response = http::Response<Body>;
//! #     type Error = std::convert::Infallible;
//! #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
//! #         std::task::Poll::Ready(Ok(()))
//! #     }
//! #     fn call(&mut self, _: http::Request<Body>) -> Self::Future {
//! #         std::future::ready(Ok(http::Response::new(Body::empty())))
//! #     }
//! # }
//! # let client = Client;
//!
//! let config = Config::default()
//!     .with_route("orders", Route::prefix("/orders", "orders"))
//!     .with_route("catalog", Route::prefix("/products", "catalog"));
//! let router: axum::Router = Gateway::new(&config, client)?.into_router();
//! # Ok::<(), mainstay_gateway::config::Invalid>(())
//! ```

mod access;
pub mod config;
mod forward;
mod future;
mod gateway;
mod path;
mod pattern;
mod rewrite;
mod table;

pub use config::Config;
pub use future::ResponseFuture;
pub use gateway::Gateway;
