//! Whom to ask.

use std::net::{Ipv4Addr, SocketAddr};

use super::config::Server;

/// Where the system names its servers, see resolv.conf(5).
const SYSTEM: &str = "/etc/resolv.conf";

/// As many as the system's own resolver asks.
const MOST: usize = 3;

/// The servers to ask.
#[derive(Debug)]
pub(super) enum Servers {
    Configured(Vec<SocketAddr>),
    /// Read anew for each round, as they change under a running process.
    OfTheSystem,
}

impl Servers {
    pub(super) fn new(configured: &[Server]) -> Self {
        if configured.is_empty() {
            return Self::OfTheSystem;
        }
        Self::Configured(configured.iter().map(|Server(address)| *address).collect())
    }

    pub(super) async fn now(&self) -> Vec<SocketAddr> {
        match self {
            Self::Configured(servers) => servers.clone(),
            Self::OfTheSystem => {
                let text = tokio::task::spawn_blocking(|| std::fs::read_to_string(SYSTEM)).await;
                named(&text.ok().and_then(Result::ok).unwrap_or_default())
            }
        }
    }
}

/// The servers that a resolv.conf names; the one of this host if none can be read. Only `nameserver` lines count:
/// search lists and options are not for us.
fn named(text: &str) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then(|| words.next())?
    });
    let servers = addresses.filter_map(|address| address.parse::<Server>().ok());
    let mut servers: Vec<_> = servers.map(|Server(address)| address).take(MOST).collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_of_a_resolv_conf_count() {
        let text = "# nameserver 9.9.9.9\nsearch a b\noptions ndots:5\nnameserver 10.0.0.2 # ours\n\
                    nameserver fe80::1%eth0\nnameserver\n nameserver fd00::1\nnameserver 10.0.0.3\nnameserver 10.0.0.4";
        let servers: Vec<_> = named(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.2:53", "[fd00::1]:53", "10.0.0.3:53"]);
        assert_eq!(named("garbage \u{0}")[0].to_string(), "127.0.0.1:53");
    }
}
