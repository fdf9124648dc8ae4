//! Where a server listens.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where a server listens, written as one string.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// `ip:port`, such as `0.0.0.0:8080` or `[::]:8080`.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `systemd`, `systemd:NAME`, `systemd:INDEX`: a listening socket of `LISTEN_FDS` (`sd_listen_fds(3)`).
    Inherited(Inherited),
}

/// Which of the sockets that were handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inherited {
    /// The one in this place, from 0.
    Index(usize),
    /// The one with this name (`FileDescriptorName=`).
    Name(String),
}

/// Text that is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `ip:port` such as `0.0.0.0:8080` or `[::]:8080`, `unix:/path`, or `systemd`, `systemd:NAME`, \
     `systemd:INDEX`"
)]
#[non_exhaustive]
pub struct InvalidAddress;

impl Default for Address {
    /// `0.0.0.0:8080`.
    fn default() -> Self {
        Self::Tcp(SocketAddr::from(([0, 0, 0, 0], 8080)))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(InvalidAddress) } else { Ok(Self::Unix(path.into())) };
        }
        if text == "systemd" {
            return Ok(Self::Inherited(Inherited::Index(0)));
        }
        if let Some(which) = text.strip_prefix("systemd:") {
            return match which.parse() {
                Ok(index) => Ok(Self::Inherited(Inherited::Index(index))),
                Err(_) if which.is_empty() => Err(InvalidAddress),
                Err(_) => Ok(Self::Inherited(Inherited::Name(which.to_owned()))),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| InvalidAddress)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(Inherited::Index(index)) => write!(f, "systemd:{index}"),
            Self::Inherited(Inherited::Name(name)) => write!(f, "systemd:{name}"),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|error: InvalidAddress| {
            de::Error::invalid_value(
                de::Unexpected::Str(&text),
                &error.to_string().trim_start_matches("expected "),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_was_read() {
        for text in ["0.0.0.0:8080", "[::1]:0", "unix:/run/orders.sock", "systemd:1", "systemd:main"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "8080", ":8080", "0.0.0.0", "unix:", "systemd:", "tcp://0.0.0.0:1", "0.0.0.0:65536"]
        {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text}");
        }
    }
}
