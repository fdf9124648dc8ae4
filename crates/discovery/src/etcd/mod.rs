//! A registry in etcd.
//!
//! ```toml
//! [discovery]
//! registry = "etcd"
//!
//! [discovery.etcd]
//! endpoints = ["http://10.0.0.7:2379", "http://10.0.0.8:2379"]
//! ```
//!
//! Each registration is a key with a lease of its own; a watch tells of every change, an expired lease included. Of
//! all registries here it promises most: one order of changes that all see, and none that is lost once acknowledged.
//!
//! When not to use it: where nobody runs etcd yet. It wants three members, and disks that sync.

#[cfg(feature = "etcd")]
mod backend;
mod config;
#[cfg(feature = "etcd")]
mod members;
#[cfg(feature = "etcd")]
#[rustfmt::skip]
#[allow(
    missing_docs, unreachable_pub, unnameable_types, dead_code, clippy::all, clippy::wildcard_imports,
    clippy::allow_attributes_without_reason, clippy::missing_errors_doc,
    reason = "generated, see protocol.proto"
)]
mod protocol;

#[cfg(feature = "etcd")]
pub(crate) use backend::Etcd;
pub use config::Config;
