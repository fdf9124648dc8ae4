//! The table `[discovery.consul]`.

use mainstay_core::config::{Duration, Findings, Secret, Section};
use serde::{Deserialize, Serialize};

use crate::{
    origin::Origin,
    registry::{Tls, check_times},
};

/// The table `[discovery.consul]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The HTTP API of the agent, version 1.7 or newer: `http://HOST:PORT` or `https://HOST:PORT`. Best the agent of
    /// this host, since services are registered with it. Default `http://127.0.0.1:8500`.
    pub address: Origin,
    /// The token. It needs `service:write` for what is registered, `service:read` and `node:read` for what is called.
    /// Default none.
    pub token: Option<Secret>,
    /// The data centre in which names are looked up. Default that of the agent, in which services are registered
    /// always.
    pub datacenter: Option<String>,
    /// The namespace of the services, which Consul Enterprise has. Default that of the token.
    pub namespace: Option<String>,
    /// How long a registration counts that is not renewed. Default 10 s, from 2 s to 1 h.
    pub ttl: Duration,
    /// How long after that the agent forgets it. Default 1 min, which is the least that Consul takes.
    pub deregister_after: Duration,
    /// How long a request to the agent may take. Default 2 s, from 50 ms to half of `ttl`.
    pub timeout: Duration,
    /// TLS, where the address has the scheme `https`.
    pub tls: Tls,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: Origin::new(false, "127.0.0.1", 8500),
            token: None,
            datacenter: None,
            namespace: None,
            ttl: Duration::from_secs(10),
            deregister_after: Duration::from_secs(60),
            timeout: Duration::from_secs(2),
            tls: Tls::default(),
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if let Some(token) = &self.token
            && (token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()))
        {
            findings.reject("token", "a token, which has printable ASCII characters and no spaces");
        }
        // They stand in a query.
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        for (key, name) in [("datacenter", &self.datacenter), ("namespace", &self.namespace)] {
            if let Some(name) = name
                && (name.is_empty() || name.len() > 64 || !name.bytes().all(in_name))
            {
                findings.reject(key, "1 to 64 letters, digits, `-` and `_`");
            }
        }
        if self.deregister_after < Duration::from_secs(60) {
            findings.reject("deregister_after", "at least 1m: Consul raises what is less");
        }
        check_times(findings, self.ttl, self.timeout);
        findings.within("tls", |findings| self.tls.check(findings));
    }
}
