//! The settings of the DNS.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::{NonZeroU8, NonZeroU16},
    str::FromStr,
};

use mainstay_core::config::{Duration, Findings};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Protocol;
#[cfg(feature = "dns")]
use crate::ServiceName;

/// Where the name of the service stands.
const PLACE: &str = "{service}";

/// The table `[discovery.dns]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The name to ask for, such as `{service}.internal`. One that starts with `_`, such as
    /// `_http._tcp.{service}.internal`, is asked for SRV records (RFC 2782), every other for A and AAAA.
    pub name: Option<Template>,
    /// The servers to ask, in this order, such as `10.0.0.2` or `[::1]:5353`. Empty by default: those of
    /// `/etc/resolv.conf`.
    pub servers: Vec<Server>,
    /// The port of the endpoints; an SRV record has its own. Default 80, with TLS 443.
    pub port: Option<NonZeroU16>,
    /// The protocol for plain HTTP requests. Default `http1`.
    pub protocol: Protocol,
    /// Whether TLS is spoken at the endpoints. Default false.
    pub tls: bool,
    /// How long one server may take to answer. Default 1 s.
    pub timeout: Duration,
    /// How often each server is asked, before a question counts as not answered. Default 2.
    pub attempts: NonZeroU8,
    /// Records are asked for again no sooner than this, whatever they say. Default 1 s.
    pub min_ttl: Duration,
    /// Records are asked for again after this at the latest, whatever they say. Default 5 min.
    pub max_ttl: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            servers: Vec::new(),
            port: None,
            protocol: Protocol::default(),
            tls: false,
            timeout: Duration::from_secs(1),
            attempts: NonZeroU8::MIN.saturating_add(1),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// Asks for `name`, with the other settings as by default.
    #[must_use]
    pub fn new(name: Template) -> Self {
        Self { name: Some(name), ..Self::default() }
    }

    pub(crate) fn check(&self, findings: &mut Findings) {
        if self.timeout.is_zero() {
            findings.reject("timeout", "more than 0s");
        }
        if self.min_ttl.get() < std::time::Duration::from_millis(100) {
            findings.reject("min_ttl", "at least 100ms, so that no server is flooded");
        }
        if self.max_ttl < self.min_ttl {
            findings.reject("max_ttl", format_args!("at least `min_ttl` ({})", self.min_ttl));
        }
    }
}

/// A domain name in which `{service}` stands for the name of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// The name to ask for, absolute: search lists are never used, since with one a single answer could come from any
    /// of several zones.
    #[cfg(feature = "dns")]
    pub(super) fn of(&self, service: &ServiceName) -> String {
        let name = self.0.replace(PLACE, service.as_str());
        if name.ends_with('.') { name } else { name + "." }
    }
}

/// Not a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a domain name with `{{service}}` in it, such as `{{service}}.internal`: {0}")]
pub struct InvalidTemplate(&'static str);

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        if text.matches(PLACE).count() != 1 {
            return Err(InvalidTemplate("`{service}` has to stand in it once"));
        }
        let longest = text.replace(PLACE, &"a".repeat(63));
        let name = longest.strip_suffix('.').unwrap_or(&longest);
        if name.len() > 253 {
            return Err(InvalidTemplate("with a long name in it, it has more than 253 characters"));
        }
        let in_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        for label in name.split('.') {
            if label.is_empty() || !label.bytes().all(in_label) {
                return Err(InvalidTemplate(
                    "labels have letters, digits, `-` and `_`, and a dot between them",
                ));
            }
            if label.len() > 63 {
                return Err(InvalidTemplate("with a long name in it, a label has more than 63 characters"));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// A server to ask: an IP address, with its port where that is not 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server(pub SocketAddr);

/// Not a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the IP address of a DNS server, such as `10.0.0.2`, `10.0.0.2:5353` or `[::1]:5353`")]
pub struct InvalidServer;

impl FromStr for Server {
    type Err = InvalidServer;

    fn from_str(text: &str) -> Result<Self, InvalidServer> {
        let with_port = |_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        let address = text.parse::<SocketAddr>().or_else(with_port).map_err(|_| InvalidServer)?;
        if address.port() == 0 { Err(InvalidServer) } else { Ok(Self(address)) }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
