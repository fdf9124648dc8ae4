//! Which registry a process uses, and what it shows of it.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use mainstay_core::{
    config::{Duration, Findings, Section},
    task::Tasks,
};
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;

#[cfg(feature = "dns")]
use crate::dns;
#[cfg(feature = "kubernetes")]
use crate::kubernetes;
#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
use crate::remote::Remote;
use crate::{Config, Register, Resolve, ServiceName, file, memory};

/// A registry that takes registrations, resolves names, and shows how it is.
///
/// When the last handle is dropped its background tasks end: what it has registered is withdrawn, and watches keep the
/// endpoints that they had.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a registry",
    note = "use one that `mainstay_discovery::Config::connect` makes, or implement `Register`, `Resolve` and `Registry`"
)]
pub trait Registry: Register + Resolve {
    /// How it is now, for people to read.
    fn status(&self) -> Status;

    /// The address of this host by which the others that use this registry reach it, where the registry knows.
    fn own_address(&self) -> Option<IpAddr> {
        None
    }
}

/// The registries that the configuration can name: `discovery.registry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// [`memory::Registry`]: within the process.
    Memory,
    /// Between the processes themselves. Needs the feature `gossip`.
    Gossip,
    /// [`file::Registry`]: a file that is watched.
    File,
    /// The DNS. Needs the feature `dns`.
    Dns,
    /// EndpointSlices. Needs the feature `kubernetes`.
    Kubernetes,
    /// [Consul](crate::consul). Needs the feature `consul`.
    Consul,
    /// [etcd](crate::etcd). Needs the feature `etcd`.
    Etcd,
    /// A [NATS](crate::nats) key-value bucket. Needs the feature `nats`.
    Nats,
    /// [Redis](crate::redis) or Valkey. Needs the feature `redis`.
    Redis,
}

impl Kind {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Gossip => "gossip",
            Self::File => "file",
            Self::Dns => "dns",
            Self::Kubernetes => "kubernetes",
            Self::Consul => "consul",
            Self::Etcd => "etcd",
            Self::Nats => "nats",
            Self::Redis => "redis",
        }
    }

    /// Whether services are registered in it: not in what others write.
    #[must_use]
    pub fn takes_registrations(self) -> bool {
        !matches!(self, Self::File | Self::Dns | Self::Kubernetes)
    }

    /// Whether this program was built with it.
    #[must_use]
    pub fn is_built_in(self) -> bool {
        match self {
            Self::Memory | Self::File => true,
            Self::Gossip => cfg!(feature = "gossip"),
            Self::Dns => cfg!(feature = "dns"),
            Self::Kubernetes => cfg!(feature = "kubernetes"),
            Self::Consul => cfg!(feature = "consul"),
            Self::Etcd => cfg!(feature = "etcd"),
            Self::Nats => cfg!(feature = "nats"),
            Self::Redis => cfg!(feature = "redis"),
        }
    }

    /// Whether it stands behind a server, and `[discovery.cache]` is for it.
    fn is_remote(self) -> bool {
        matches!(self, Self::Consul | Self::Etcd | Self::Nats | Self::Redis)
    }
}

/// How a registry is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// What it is called: `memory`, `etcd`, ...
    pub registry: &'static str,
    /// Whether it answers, as far as is known.
    pub is_connected: bool,
    /// For how long that has been so, in seconds.
    pub for_seconds: f64,
    /// What last went wrong; it stays here when the registry answers again.
    pub last_error: Option<LastError>,
    /// The names that are followed, and why some are not.
    pub followed: Vec<Followed>,
    /// What this process has registered.
    pub registered: Vec<Registered>,
    /// The other processes, where the registry is made of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// What was counted, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counted: BTreeMap<&'static str, u64>,
}

/// Another process that is part of the registry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Process {
    /// Where it is reached.
    pub address: String,
    /// `alive`, `failing`, `forgotten` or `left`.
    pub state: &'static str,
    /// For how long nothing was heard of it, in seconds.
    pub silent_seconds: f64,
    /// How many endpoints it has registered.
    pub registrations: usize,
}

/// What last went wrong with a registry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LastError {
    /// The error and its causes.
    pub message: String,
    /// How long ago, in seconds.
    pub seconds_ago: f64,
}

/// A name that is followed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Followed {
    /// The name.
    pub service: ServiceName,
    /// How many endpoints its watches have.
    pub endpoints: usize,
    /// How many of them the registry does not list any more, or has not confirmed yet; they are kept for a while.
    pub unconfirmed: usize,
    /// Whether the registry has answered for this name since the last interruption.
    pub is_current: bool,
}

/// A registration of this process.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Registered {
    /// Under which name.
    pub service: ServiceName,
    /// Where it answers, such as `http://10.0.0.7:8080`.
    pub place: String,
    /// Whether the registry lists it, as far as is known.
    pub is_established: bool,
}

/// The table `[discovery.cache]`: the endpoints of a registry behind a server, kept over a restart of the process, so
/// that one that starts while its registry is away calls what it knew.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cache {
    /// The file, in a folder that is there and can be written to. Each process has its own.
    pub file: PathBuf,
    /// What the registry has not confirmed for this long is not used after a restart. Default 1 h, at least 1 s.
    #[serde(default = "Cache::an_hour")]
    pub max_age: Duration,
}

impl Cache {
    /// In `file`, for an hour.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), max_age: Self::an_hour() }
    }

    fn an_hour() -> Duration {
        Duration::from_secs(3600)
    }
}

/// The registry that was configured can't be made in this process. What can get better by itself, such as a server
/// that is away, is not an error.
#[derive(Debug, thiserror::Error)]
#[error("the registry `{registry}` can't be used: {what}")]
#[non_exhaustive]
pub struct Unusable {
    /// What the registry is called.
    pub registry: &'static str,
    /// What can't be done, such as "`discovery.etcd.tls.ca` (/etc/ca.pem) can't be read".
    pub what: String,
    /// Why not.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What is known of a server's certificate, and shown of ours. Whether TLS is spoken, the scheme of the address says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Tls {
    /// The certificates of the authorities that may sign the server's, as a PEM file. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show the server, as a PEM file with its chain; goes with `key_file`. Default none.
    pub certificate_file: Option<PathBuf>,
    /// The key of that certificate, as a PEM file. Default none.
    pub key_file: Option<PathBuf>,
}

impl Tls {
    pub(crate) fn check(&self, findings: &mut Findings) {
        if self.certificate_file.is_some() != self.key_file.is_some() {
            findings.reject("certificate_file", "given together with `key_file`, or neither of them");
        }
    }
}

/// Whether the times of a registry behind a server go together.
pub(crate) fn check_times(findings: &mut Findings, ttl: Duration, timeout: Duration) {
    if !(Duration::from_secs(2)..=Duration::from_secs(3600)).contains(&ttl) {
        findings.reject("ttl", "between 2s and 1h");
    }
    if timeout.get() < std::time::Duration::from_millis(50) || timeout.get() > ttl.get() / 2 {
        findings.reject("timeout", format_args!("between 50ms and half of `ttl` ({ttl})"));
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if let Some(kind) = self.registry.filter(|kind| !kind.is_built_in()) {
            let name = kind.name();
            findings.reject(
                "registry",
                format_args!(
                    "one that this program was built with: `{name}` needs the feature `{name}` of mainstay"
                ),
            );
        }
        if self.registry == Some(Kind::File) && self.file.path.is_none() {
            findings.reject("file.path", "the path of the file, since `discovery.registry` is `file`");
        }
        if self.registry == Some(Kind::Dns) && self.dns.name.is_none() {
            findings.reject("dns.name", "the name to ask for, since `discovery.registry` is `dns`");
        }
        if let Some(cache) = &self.cache {
            if !self.registry.is_some_and(Kind::is_remote) {
                findings.reject(
                    "cache",
                    "given with a `registry` behind a server (consul, etcd, nats, redis) only",
                );
            }
            if cache.max_age < Duration::from_secs(1) {
                findings.reject("cache.max_age", "at least 1s");
            }
        }
        findings.within("dns", |findings| self.dns.check(findings));
        findings.within("kubernetes", |findings| self.kubernetes.check(findings));
        findings.within("consul", |findings| self.consul.check(findings));
        findings.within("etcd", |findings| self.etcd.check(findings));
        findings.within("nats", |findings| self.nats.check(findings));
        findings.within("redis", |findings| self.redis.check(findings));
        #[cfg(feature = "gossip")]
        findings.within("gossip", |findings| self.gossip.check(findings));
    }
}

impl Config {
    /// The registry that `registry` names, `None` where it names none. Its background work belongs to `tasks`.
    ///
    /// Does not wait for the registry: a server that is away now is connected to when it is there.
    ///
    /// # Errors
    /// [`Unusable`] when this process lacks what it takes: a file that can't be read, an address that can't be bound.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn connect(&self, tasks: &Tasks) -> Result<Option<Arc<dyn Registry>>, Unusable> {
        let Some(kind) = self.registry else { return Ok(None) };
        Ok(Some(match kind {
            Kind::Memory => Arc::new(memory::Registry::new()),
            #[cfg(feature = "gossip")]
            Kind::Gossip => Arc::new(crate::gossip::Gossip::start(&self.gossip, tasks).await?),
            Kind::File => Arc::new(file::Registry::open(&self.file, tasks).await?),
            #[cfg(feature = "dns")]
            Kind::Dns => Arc::new(dns::registry(&self.dns, tasks)?),
            #[cfg(feature = "kubernetes")]
            Kind::Kubernetes => Arc::new(kubernetes::registry(&self.kubernetes, tasks)?),
            #[cfg(feature = "consul")]
            Kind::Consul => {
                let (backend, timing) = crate::consul::Consul::new(&self.consul, tasks);
                Arc::new(Remote::new(backend, timing, self.cache.as_ref(), tasks).await?)
            }
            #[cfg(feature = "etcd")]
            Kind::Etcd => {
                let (backend, timing) = crate::etcd::Etcd::new(&self.etcd)?;
                Arc::new(Remote::new(backend, timing, self.cache.as_ref(), tasks).await?)
            }
            #[cfg(feature = "nats")]
            Kind::Nats => {
                let (backend, timing) = crate::nats::Nats::new(&self.nats)?;
                Arc::new(Remote::new(backend, timing, self.cache.as_ref(), tasks).await?)
            }
            #[cfg(feature = "redis")]
            Kind::Redis => {
                let (backend, timing) = crate::redis::Redis::new(&self.redis)?;
                Arc::new(Remote::new(backend, timing, self.cache.as_ref(), tasks).await?)
            }
            #[cfg(not(all(
                feature = "gossip",
                feature = "dns",
                feature = "kubernetes",
                feature = "consul",
                feature = "etcd",
                feature = "nats",
                feature = "redis"
            )))]
            kind => {
                let what = format!("this program was built without the feature `{}`", kind.name());
                return Err(Unusable { registry: kind.name(), what, source: None });
            }
        }))
    }
}

/// The address of this host on the way to `towards`, else to anywhere. Nothing is sent: connecting a UDP socket only
/// asks the routing table.
///
/// # Errors
/// Those of the system: without a route there is none.
///
/// # Cancel safety
/// Can be dropped.
pub async fn own_address(towards: Option<SocketAddr>, v4: bool) -> io::Result<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): no host has them, so the default route is asked for.
    let (any, elsewhere): (IpAddr, IpAddr) = if v4 {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
    } else {
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
    };
    let probe = UdpSocket::bind((any, 0)).await?;
    probe.connect(towards.unwrap_or_else(|| SocketAddr::new(elsewhere, 9))).await?;
    let own = probe.local_addr()?.ip();
    if own.is_unspecified() { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok(own) }
}
