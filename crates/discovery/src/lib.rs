//! Where the endpoints of a service are: registration and resolution.
//!
//! Owns: endpoints, the traits [`Register`] and [`Resolve`], and the registries behind them. Does not own: how
//! requests are spread over endpoints, or how they are called (`mainstay-client`).
//!
//! | module | holds |
//! |---|---|
//! | [`endpoint`] | one place where a service answers: address, protocol, weight, zone, health, metadata |
//! | [`name`] | the logical name of a service |
//! | [`watch`] | the endpoints of a name as they are now, and as they change |
//! | [`resolve`], [`register`] | the two traits that a registry implements, and the precedence of several |
//! | [`registry`] | the choice of a registry by configuration, and what is shown of it |
//! | [`origin`] | where the HTTP API of a registry is |
//! | [`memory`] | a registry within the process |
//! | [`fixed`] | endpoints from the configuration |
//! | [`file`](mod@file) | endpoints from a file that is watched |
//! | [`dns`] | endpoints from the DNS (feature `dns`) |
//! | [`kubernetes`] | endpoints from EndpointSlices (feature `kubernetes`) |
//! | `gossip` | a registry between processes, without a server (feature `gossip`) |
//! | [`consul`], [`etcd`], [`nats`], [`redis`] | registries behind a server, each with the feature of its name |
//!
//! Invariants: reading the endpoints takes no lock; what was known stays known when its source goes away; a
//! registration ends when its [`Lease`] is dropped.
//!
//! ```
//! use mainstay_discovery::{Endpoint, FirstOf, Resolve, ServiceName, fixed, memory};
//!
//! let name = ServiceName::new("orders")?;
//! let registry = memory::Registry::new();
//! let fixed = fixed::Fixed::new().with("orders", ["http://127.0.0.1:8081".parse()?])?;
//! let resolver = FirstOf::new(registry.clone()).or(fixed);
//!
//! let watch = resolver.resolve(&name);
//! assert_eq!(watch.snapshot()[0].address().to_string(), "127.0.0.1:8081");
//! let lease = registry.register(&name, Endpoint::in_process());
//! assert_eq!(watch.snapshot()[0].address().to_string(), "in-process");
//! drop(lease);
//! assert_eq!(watch.snapshot()[0].address().to_string(), "127.0.0.1:8081");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

#[cfg(any(feature = "consul", feature = "kubernetes"))]
mod api;
#[cfg(any(
    feature = "consul",
    feature = "dns",
    feature = "etcd",
    feature = "kubernetes",
    feature = "nats",
    feature = "redis"
))]
mod backoff;
pub mod consul;
pub mod dns;
pub mod endpoint;
pub mod etcd;
pub mod file;
pub mod fixed;
#[cfg(feature = "gossip")]
pub mod gossip;
pub mod kubernetes;
#[cfg(any(feature = "dns", feature = "kubernetes"))]
mod lookup;
pub mod memory;
pub mod name;
pub mod nats;
pub mod origin;
pub mod redis;
pub mod register;
pub mod registry;
#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
mod remote;
pub mod resolve;
mod standing;
pub mod watch;

pub use endpoint::{Address, Endpoint, Health, Host, Place, Protocol};
pub use name::ServiceName;
pub use register::{Lease, Register, Unregistrable};
pub use registry::Registry;
pub use resolve::{FirstOf, Resolve};
pub use watch::{Snapshot, Watch};

/// The section `discovery` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// `[discovery.static]`: the endpoints of services by name, such as
    /// `orders = ["http://127.0.0.1:8081", "unix:/run/orders.sock"]`. Empty by default.
    #[serde(rename = "static")]
    pub fixed: fixed::Config,
    /// The registry that services of this process are registered in, and others are looked up in: `memory`, `file`, or
    /// with the feature of that name `gossip`, `dns`, `kubernetes`, `consul`, `etcd`, `nats` or `redis`. None by default.
    pub registry: Option<registry::Kind>,
    /// The host name or IP address by which others reach the services of this process, without a port. Default: what a
    /// listener is bound to; where that is `0.0.0.0` or `[::]`, the address of this host towards the registry.
    pub advertise: Option<Host>,
    /// The zone that this process is in: a name for what fails together and is near. None by default.
    pub zone: Option<String>,
    /// `[discovery.file]`: the file that is watched, for the registry `file`.
    pub file: file::Config,
    /// `[discovery.dns]`: what is asked of whom, for the registry `dns`.
    pub dns: dns::Config,
    /// `[discovery.kubernetes]`: the API server and what is asked of it, for the registry `kubernetes`.
    pub kubernetes: kubernetes::Config,
    /// `[discovery.gossip]`: the registry between the processes themselves.
    #[cfg(feature = "gossip")]
    pub gossip: gossip::Config,
    /// `[discovery.cache]`: keeps the endpoints of a registry behind a server (Consul, etcd, NATS, Redis) over a restart
    /// of the process. None by default.
    pub cache: Option<registry::Cache>,
    /// `[discovery.consul]`: for the registry `consul`.
    pub consul: consul::Config,
    /// `[discovery.etcd]`: for the registry `etcd`.
    pub etcd: etcd::Config,
    /// `[discovery.nats]`: for the registry `nats`.
    pub nats: nats::Config,
    /// `[discovery.redis]`: for the registry `redis`.
    pub redis: redis::Config,
}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/discovery.md")]
struct Guide;
