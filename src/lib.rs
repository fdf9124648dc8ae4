#![doc = include_str!("../README.md")]
//!
//! ## This crate
//!
//! Owns the assembly and nothing else: [`Service`], [`Host`], [`Settings`], and the order of the stack (`src/stack.rs`).
//! Every layer, the server, the client and the registries live in crates of their own and are re-exported here under
//! one path each.

/// The guide's examples are tests.
#[cfg(all(doctest, feature = "auth"))]
#[doc = include_str!("../docs/services.md")]
mod guide {}
#[cfg(all(doctest, feature = "telemetry"))]
#[doc = include_str!("../docs/telemetry.md")]
mod telemetry_guide {}
#[cfg(all(doctest, feature = "telemetry"))]
#[doc = include_str!("../docs/alerts.md")]
mod alerts_guide {}
#[cfg(all(doctest, feature = "telemetry"))]
#[doc = include_str!("../docs/logs.md")]
mod logs_guide {}
#[cfg(all(doctest, feature = "openapi"))]
#[doc = include_str!("../docs/interfaces.md")]
mod interfaces_guide {}
#[cfg(all(doctest, feature = "gateway", feature = "auth"))]
#[doc = include_str!("../docs/gateway.md")]
mod gateway_guide {}

#[cfg(feature = "grpc")]
mod grpc;
mod host;
#[cfg(feature = "openapi")]
pub mod interface;
mod service;
mod settings;
mod stack;

pub use axum;
#[cfg(feature = "auth")]
pub use mainstay_auth as auth;
pub use mainstay_client as client;
pub use mainstay_core::{
    Body, BoxError, Error, Result, admin, config, context, credentials, error, extract, health, lifecycle,
    metrics, middleware, observe, panics, server, task, trace,
};
pub use mainstay_discovery as discovery;
#[cfg(feature = "gateway")]
pub use mainstay_gateway as gateway;
#[cfg(feature = "telemetry")]
pub use mainstay_telemetry as telemetry;
#[cfg(feature = "grpc")]
pub use tonic;

pub use client::Client;
#[cfg(feature = "grpc")]
pub use grpc::GrpcService;
pub use host::{Addresses, Host, HostError, Misfit, Running};
pub use service::{Service, ServiceContext};
pub use settings::{BodySettings, HostSettings, InProcess, ServiceSettings, Settings};
