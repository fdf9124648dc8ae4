//! A registry in Redis or Valkey.
//!
//! ```toml
//! [discovery]
//! registry = "redis"
//!
//! [discovery.redis]
//! address = "redis://10.0.0.7:6379"
//! ```
//!
//! Each registration is a key that expires; a set holds the ids of a service, so that nothing scans the key space.
//! Changes are published on a channel a service; what runs out, and what was not heard, a re-read finds. One server,
//! or the address of whatever stands before several: clusters and sentinels are not asked for their topology.
//!
//! When not to use it: where the loss of the last second's registrations by a failover matters. Redis replicates
//! asynchronously; a registration that is lost is restored at its next renewal.

#[cfg(feature = "redis")]
mod backend;
mod config;
#[cfg(feature = "redis")]
mod connection;

#[cfg(feature = "redis")]
pub(crate) use backend::Redis;
pub use config::Config;
