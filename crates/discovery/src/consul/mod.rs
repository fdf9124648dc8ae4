//! A registry in Consul.
//!
//! ```toml
//! [discovery]
//! registry = "consul"
//!
//! [discovery.consul]
//! address = "http://127.0.0.1:8500"              # the agent of this host
//! ```
//!
//! Each registration is a service of the agent with a TTL check; blocking queries tell of every change. A service is
//! registered as Consul has it (address, port, weight, metadata), so that other programs find it, and services of other
//! programs are found here.
//!
//! Needs the feature `consul`. When not to use it: where nobody runs Consul yet, or where its mesh balances.
//!
//! | file | holds |
//! |---|---|
//! | `config` | the settings |
//! | `backend` | registering, renewing, following |
//! | `instance` | an endpoint as a service of Consul, and back |

#[cfg(feature = "consul")]
mod backend;
mod config;
#[cfg(feature = "consul")]
mod instance;

#[cfg(feature = "consul")]
pub(crate) use backend::Consul;
pub use config::Config;
