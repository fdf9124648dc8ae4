//! Where a registry's HTTP API is.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Address, Endpoint, Protocol};

/// The origin of an HTTP API: `http://HOST:PORT` or `https://HOST:PORT`, with port 80 or 443 where none is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    tls: bool,
    host: Arc<str>,
    port: u16,
}

impl Origin {
    /// Of `host`, a name or an IP address without brackets.
    pub(crate) fn new(tls: bool, host: impl Into<Arc<str>>, port: u16) -> Self {
        Self { tls, host: host.into(), port }
    }

    /// Whether TLS is spoken there.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host name, or IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT`, with brackets where the host is an IPv6 address.
    #[must_use]
    pub fn authority(&self) -> String {
        Address::Tcp(self.host.clone(), self.port).to_string()
    }
}

/// Not the origin of an HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the address of an HTTP API: expected `http://HOST:PORT` or `https://HOST:PORT`")]
pub struct InvalidOrigin(String);

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(text.to_owned());
        let endpoint: Endpoint = text.parse().map_err(|_| invalid())?;
        match endpoint.address() {
            Address::Tcp(host, port) if endpoint.protocol() == Protocol::Http1 => {
                Ok(Self::new(endpoint.is_tls(), host.clone(), *port))
            }
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_it_is_displayed() {
        for text in ["http://127.0.0.1:8001", "https://[fd00::1]:6443", "https://kubernetes.default.svc:443"]
        {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
        for text in ["h2c://a:1", "unix:/run/x", "a:1", "https://a:1/path", "ftp://a"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
