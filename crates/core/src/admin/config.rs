//! `admin` of the configuration.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::config::Section;

/// `[admin]`: the listener for probes and pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Whether there is one. Default `true`.
    pub enabled: bool,
    /// Where it listens. Default `127.0.0.1:9090`; a kubelet needs `0.0.0.0:9090` and a network policy.
    pub address: SocketAddr,
}

impl Config {
    /// On this address.
    #[must_use]
    pub fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// With or without the listener.
    #[must_use]
    pub fn with_enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)) }
    }
}

impl Section for Config {}
