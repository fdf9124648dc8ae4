//! `discovery.gossip` of the configuration.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
};

use mainstay_core::config::{Duration, Findings, Secret, Section};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Endpoint;

/// The port that is used where none is given.
pub const PORT: u16 = 7649;

/// A shorter key is a password that can be guessed from one recorded datagram.
const SHORTEST_KEY: usize = 32;
/// Each one more costs every foreign datagram another attempt.
const MOST_KEYS: usize = 4;

/// `[discovery.gossip]`: how the processes of a cluster find each other.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The UDP address that this process receives at. Default `127.0.0.1:7649`. On a loopback address a port that is
    /// taken is no error: another process of this host has it, and this one takes any other.
    pub address: SocketAddr,
    /// The address at which the others reach this process. Default: `address`; where that is `0.0.0.0` or `[::]`, the
    /// address of this host on the way to the first seed.
    pub advertise: Option<SocketAddr>,
    /// Processes to begin with, as `HOST:PORT`; 7649 where no port is given. One that answers is enough, and this
    /// process may be among them. Names are looked up again every 30 seconds. Default `["127.0.0.1:7649"]`.
    pub seeds: Vec<Seed>,
    /// The name of the cluster; processes of another one are not heard. Default `mainstay`.
    pub cluster: String,
    /// The keys that datagrams are encrypted and authenticated with, at least 32 characters each, such as from
    /// `openssl rand -base64 32`. Several are separated by white space: the first one seals, all open. None by
    /// default, which is possible on loopback addresses only.
    pub key: Option<Secret>,
    /// How often a process talks to some others, from `50ms` to `10s`. A process that is silent for twelve times as
    /// long counts as failing; at most 48 times, where the network is slow. Default `250ms`.
    pub interval: Duration,
    /// For how long the endpoints of a process that is failing stay listed, as failing ones. Default `1m`.
    pub forget_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            advertise: None,
            seeds: vec![Seed { host: Ipv4Addr::LOCALHOST.to_string(), port: PORT }],
            cluster: "mainstay".to_owned(),
            key: None,
            interval: Duration::from_millis(250),
            forget_after: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// The keys, the one that seals first.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.key.iter().flat_map(|key| key.expose().split_whitespace())
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        let interval = self.interval.get().as_millis();
        if !(50..=10_000).contains(&interval) {
            findings.reject("interval", "from `50ms` to `10s`");
        }
        if self.forget_after.get() < self.interval.get() * 50 {
            findings.reject("forget_after", format_args!("at least 50 times `interval` ({})", self.interval));
        }
        if self.cluster.is_empty() || self.cluster.len() > 63 {
            findings.reject("cluster", "a name of 1 to 63 bytes");
        }
        if let Some(advertise) = self.advertise
            && !super::wire::is_reachable(advertise)
        {
            findings.reject("advertise", "an address and port that the others can send to");
        }
        let keys: Vec<_> = self.keys().collect();
        if self.key.is_some() {
            if keys.is_empty() || keys.iter().any(|key| key.len() < SHORTEST_KEY) {
                findings.reject(
                    "key",
                    "keys of at least 32 characters each, such as from `openssl rand -base64 32`",
                );
            }
            if keys.len() > MOST_KEYS {
                findings.reject("key", "at most 4 keys");
            }
            return;
        }
        let expected =
            "a loopback address, or set `discovery.gossip.key`: without a key anybody can tell lies";
        if !self.address.ip().is_loopback() {
            findings.reject("address", expected);
        }
        if self.advertise.is_some_and(|advertise| !advertise.ip().is_loopback()) {
            findings.reject("advertise", expected);
        }
        for (index, seed) in self.seeds.iter().enumerate() {
            if !seed.is_loopback() {
                findings.reject(&format!("seeds[{index}]"), expected);
            }
        }
    }
}

/// A process to begin with: `HOST:PORT`, `HOST`, `[::1]:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seed {
    host: String,
    port: u16,
}

impl Seed {
    /// The name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn is_loopback(&self) -> bool {
        match self.host.parse::<std::net::IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            Err(_) => self.host == "localhost",
        }
    }
}

impl From<SocketAddr> for Seed {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

/// Not the address of a seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not `HOST:PORT`: {reason}")]
#[non_exhaustive]
pub struct InvalidSeed {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for Seed {
    type Err = InvalidSeed;

    fn from_str(text: &str) -> Result<Self, InvalidSeed> {
        let invalid = |reason| InvalidSeed { text: text.to_owned(), reason };
        let with_port = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                format!("http://{host}:{port}")
            }
            _ => format!("http://{text}:{PORT}"),
        };
        let endpoint: Endpoint =
            with_port.parse().map_err(|error: crate::endpoint::InvalidEndpoint| invalid(error.reason))?;
        match endpoint.address() {
            crate::Address::Tcp(host, port) => Ok(Self { host: host.to_string(), port: *port }),
            _ => Err(invalid("the host is missing")),
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::config::{
        Loader,
        figment::providers::{Format as _, Toml},
    };

    use super::*;

    fn errors(toml: &str) -> String {
        let loader = Loader::new().source(Toml::string(toml)).tree::<Config>("");
        loader.load().err().map(|errors| errors.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_seed_is_a_host_and_a_port() {
        let cases = [
            ("a.internal", "a.internal:7649"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("[::1]:9", "[::1]:9"),
            ("[::1]", "[::1]:7649"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Seed>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", ":1", "a:0", "a:b", "a/b", "::1", "a b"] {
            assert!(text.parse::<Seed>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_key_nothing_but_loopback_is_taken() {
        assert_eq!(errors(""), "");
        assert_eq!(errors("seeds = ['localhost', '[::1]:1', '127.0.0.9']"), "");
        for (toml, key) in [
            ("address = '0.0.0.0:7649'", "address"),
            ("advertise = '10.0.0.7:7649'", "advertise"),
            ("seeds = ['127.0.0.1', 'a.internal']", "seeds[1]"),
        ] {
            let text = errors(toml);
            assert!(text.contains(key) && text.contains("discovery.gossip.key"), "{toml}: {text}");
            let keyed = format!("{toml}\nkey = '{}'", "k".repeat(32));
            assert_eq!(errors(&keyed), "", "{toml}");
        }
    }

    #[test]
    fn what_can_not_work_is_refused() {
        for (toml, expected) in [
            ("key = 'short'", "at least 32 characters"),
            ("key = '  '", "at least 32 characters"),
            ("interval = '1ms'", "from `50ms` to `10s`"),
            ("forget_after = '1s'", "at least 50 times"),
            ("cluster = ''", "1 to 63"),
            ("advertise = '127.0.0.1:0'", "can send to"),
            ("seeds = ['a:b']", "seeds[0]"),
        ] {
            let text = errors(toml);
            assert!(text.contains(expected), "{toml}: {text}");
            assert!(!text.contains("short"), "{text}");
        }
    }
}
