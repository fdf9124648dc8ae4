//! A registry in a NATS key-value bucket.
//!
//! ```toml
//! [discovery]
//! registry = "nats"
//!
//! [discovery.nats]
//! servers = ["nats://10.0.0.7:4222", "nats://10.0.0.8:4222"]
//! ```
//!
//! Each registration is a key of a bucket that forgets what is not written again; a watch tells of what is written
//! and withdrawn. Servers before 2.11 don't tell what they have forgotten: what was not renewed in time is asked for.
//!
//! When not to use it: with thousands of copies of one service. A renewal is a write that every follower gets.

#[cfg(feature = "nats")]
mod backend;
mod config;
#[cfg(feature = "nats")]
mod connection;

#[cfg(feature = "nats")]
pub(crate) use backend::Nats;
pub use config::Config;
