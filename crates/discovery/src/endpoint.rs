//! One place where a service answers.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Where a service answers, and what a balancer should know about it. Cloning is cheap.
///
/// Two endpoints with the same [`Address`], [`Protocol`] and choice of TLS are the same [`Place`]: a client keeps its
/// connections and what it has measured when the rest of the endpoint changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    place: Place,
    weight: u32,
    zone: Option<Arc<str>>,
    health: Health,
    metadata: Option<Arc<BTreeMap<String, String>>>,
}

/// What connections are kept for. Displayed as it is read: `https://10.0.0.7:8443`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Place {
    /// How it is reached.
    pub address: Address,
    /// The protocol for plain HTTP requests.
    pub protocol: Protocol,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

/// How a place is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// A host name or IP address, without brackets, and a port.
    Tcp(Arc<str>, u16),
    /// A Unix domain socket, by its absolute path.
    Unix(Arc<PathBuf>),
    /// In this process: called as a function.
    InProcess,
}

/// The protocol for plain HTTP requests; gRPC always takes HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    Http2,
}

/// What the registry says of an endpoint, beyond that it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Health {
    /// It takes requests.
    #[default]
    Serving,
    /// It still answers, and is about to go: for requests that find no other.
    Draining,
    /// It does not take requests now: chosen where nothing else is left, since a registry can be wrong.
    Failing,
}

impl Endpoint {
    /// HTTP/1.1 at `address`, without TLS, weight 1, no zone, serving.
    #[must_use]
    pub fn new(address: Address) -> Self {
        let place = Place { address, protocol: Protocol::default(), tls: false };
        Self { place, weight: 1, zone: None, health: Health::default(), metadata: None }
    }

    /// Over TCP; `host` is a name or an IP address, without brackets.
    #[must_use]
    pub fn tcp(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self::new(Address::Tcp(host.into(), port))
    }

    /// Over a Unix domain socket.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Address::Unix(Arc::new(path.into())))
    }

    /// In this process.
    #[must_use]
    pub fn in_process() -> Self {
        Self::new(Address::InProcess)
    }

    /// With the protocol for plain HTTP requests.
    #[must_use]
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.place.protocol = protocol;
        self
    }

    /// With TLS, or without.
    #[must_use]
    pub fn with_tls(mut self, tls: bool) -> Self {
        self.place.tls = tls;
        self
    }

    /// In this zone: a name for what fails together and is near, such as a rack or a data centre.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// With what the registry says of its health.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// With its share of the requests, relative to the other endpoints; at least 1.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight.max(1);
        self
    }

    /// With this entry added to what else is said of it.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let metadata = self.metadata.get_or_insert_default();
        Arc::make_mut(metadata).insert(key.into(), value.into());
        self
    }

    /// What connections to it are kept for.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How it is reached.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.place.address
    }

    /// The protocol for plain HTTP requests.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.place.protocol
    }

    /// Whether TLS is spoken there.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.place.tls
    }

    /// Its share of the requests; at least 1.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The zone it is in, if that is known.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// What the registry says of its health.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// What else is said of it under `key`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.get(key).map(String::as_str)
    }

    /// All that else is said of it, by key.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().flat_map(|all| all.iter()).map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// An endpoint in the configuration, as one string such as `https://orders.internal:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written(pub Endpoint);

impl Serialize for Written {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0.place())
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// A host name or an IP address, without brackets and without a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Host(String);

impl Host {
    /// As text, such as [`Endpoint::tcp`] takes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let is_ip = bare.parse::<std::net::IpAddr>().is_ok();
        let reason = match host_and_port(if is_ip { "ip" } else { text }, 1) {
            Ok(_) if !is_ip && text.contains(':') => "it stands without a port",
            Ok(_) => return Ok(Self(bare.to_owned())),
            Err(reason) => reason,
        };
        Err(InvalidEndpoint { text: text.to_owned(), reason })
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: InvalidEndpoint| {
            serde::de::Error::custom(format_args!("expected a host name or an IP address: {}", error.reason))
        })
    }
}

/// Its address.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

/// `http://host:port`, `h2c://host:port`, the same with TLS as `https` and `h2`, `unix:/path` or `in-process`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Address::Tcp(..) = self.address {
            f.write_str(match (self.protocol, self.tls) {
                (Protocol::Http1, false) => "http://",
                (Protocol::Http1, true) => "https://",
                (Protocol::Http2, false) => "h2c://",
                (Protocol::Http2, true) => "h2://",
            })?;
        }
        self.address.fmt(f)
    }
}

/// `host:port`, `[::1]:port`, `unix:/path` or `in-process`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::InProcess => f.write_str("in-process"),
        }
    }
}

impl From<std::net::SocketAddr> for Endpoint {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::tcp(address.ip().to_string(), address.port())
    }
}

/// Not the address of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an endpoint: {reason}; expected `http://HOST:PORT`, `h2c://HOST:PORT` (HTTP/2), \
     `https://HOST:PORT`, `h2://HOST:PORT` (HTTP/2 with TLS) or `unix:/PATH`"
)]
#[non_exhaustive]
pub struct InvalidEndpoint {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Reads `http://HOST:PORT`, `h2c://HOST:PORT`, `https://HOST:PORT`, `h2://HOST:PORT` or `unix:/PATH`; the port is 80
/// where none is given, with TLS 443. `h2` and `h2c` are the names of HTTP/2 with and without TLS (RFC 9113 section
/// 3.1, RFC 7540 section 3.1).
impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |reason| InvalidEndpoint { text: text.to_owned(), reason };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.strip_prefix('/') {
                Some(rest) if !rest.is_empty() && !path.contains('\0') => Ok(Self::unix(path)),
                _ => Err(invalid("the path of a socket is absolute")),
            };
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("the scheme is missing"))?;
        let (protocol, tls) = match scheme {
            "http" => (Protocol::Http1, false),
            "https" => (Protocol::Http1, true),
            "h2c" => (Protocol::Http2, false),
            "h2" => (Protocol::Http2, true),
            _ => return Err(invalid("the scheme is unknown")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(invalid("an endpoint has no path"));
        }
        if authority.contains('@') {
            return Err(invalid("an endpoint has no user"));
        }
        let default = if tls { 443 } else { 80 };
        let (host, port) = host_and_port(authority, default).map_err(invalid)?;
        Ok(Self::tcp(host, port).with_protocol(protocol).with_tls(tls))
    }
}

fn host_and_port(authority: &str, default: u16) -> Result<(&str, u16), &'static str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("what stands in brackets is not an IPv6 address");
        }
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("only a port can follow the bracket"),
        }
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address stands in brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(in_host) {
        return Err("the host is empty or malformed");
    }
    // `u16::from_str` takes a leading `+`, RFC 3986 section 3.2.3 does not.
    let port = match port {
        None => default,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().unwrap_or(0),
        Some(_) => 0,
    };
    if port == 0 { Err("the port is not between 1 and 65535") } else { Ok((host, port)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_displayed() {
        let cases = [
            ("http://127.0.0.1:8081", "127.0.0.1:8081", Protocol::Http1),
            ("http://orders.internal", "orders.internal:80", Protocol::Http1),
            ("h2c://[::1]:9/", "[::1]:9", Protocol::Http2),
            ("https://10.0.0.7", "10.0.0.7:443", Protocol::Http1),
            ("h2://a:1", "a:1", Protocol::Http2),
            ("unix:/run/x.sock", "unix:/run/x.sock", Protocol::Http1),
        ];
        for (text, address, protocol) in cases {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.address().to_string(), address);
            assert_eq!(endpoint.protocol(), protocol);
            assert_eq!(endpoint.place().to_string().parse::<Endpoint>().unwrap(), endpoint, "{text}");
        }
    }

    #[test]
    fn a_host_has_no_port() {
        for (text, host) in
            [("a.internal", "a.internal"), ("10.0.0.1", "10.0.0.1"), ("[::1]", "::1"), ("::1", "::1")]
        {
            assert_eq!(text.parse::<Host>().unwrap().as_str(), host);
        }
        for text in ["", "a:80", "10.0.0.1:80", "[::1]:80", "http://a", "a b", "[a]"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_endpoint_says_why() {
        let cases = [
            ("", "the scheme is missing"),
            ("127.0.0.1:80", "the scheme is missing"),
            ("ftp://a:1", "the scheme is unknown"),
            ("http://a:1/path", "an endpoint has no path"),
            ("http://u@a:1", "an endpoint has no user"),
            ("http://:80", "the host is empty or malformed"),
            ("http://a:0", "the port is not between 1 and 65535"),
            ("http://a:+80", "the port is not between 1 and 65535"),
            ("http://a:", "the port is not between 1 and 65535"),
            ("http://a:65536", "the port is not between 1 and 65535"),
            ("http://::1:80", "an IPv6 address stands in brackets"),
            ("http://[::1:80", "the bracket of the IPv6 address is not closed"),
            ("unix:x.sock", "the path of a socket is absolute"),
        ];
        for (text, reason) in cases {
            assert_eq!(text.parse::<Endpoint>().unwrap_err().reason, reason, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Endpoint>();
            let _ = format!("http://{text}").parse::<Endpoint>();
        }
    }
}
