//! The table `[discovery.redis]`.

use mainstay_core::config::{Duration, Findings, Secret, Section};
use serde::{Deserialize, Serialize};

use crate::registry::{Tls, check_times};

/// The table `[discovery.redis]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The server, version 6 or newer: `redis://HOST:PORT/DATABASE`, with TLS `rediss://`. Default
    /// `redis://127.0.0.1:6379`.
    pub address: String,
    /// What all keys and the channels for changes begin with: letters, digits and `-_.:/`. Default
    /// `mainstay:services`.
    pub prefix: String,
    /// The user. Default none.
    pub user: Option<String>,
    /// The password. Default none.
    pub password: Option<Secret>,
    /// How long a registration is kept that is not renewed. Default 10 s, from 2 s to 1 h.
    pub ttl: Duration,
    /// How long a request to the server may take. Default 2 s, from 50 ms to half of `ttl`.
    pub timeout: Duration,
    /// TLS, where the address has the scheme `rediss`.
    pub tls: Tls,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "redis://127.0.0.1:6379".to_owned(),
            prefix: "mainstay:services".to_owned(),
            user: None,
            password: None,
            ttl: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            tls: Tls::default(),
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        let authority =
            self.address.strip_prefix("redis://").or_else(|| self.address.strip_prefix("rediss://"));
        match authority {
            None => findings.reject("address", "an address such as `redis://10.0.0.7:6379` or `rediss://…`"),
            Some("") => findings.reject("address", "an address with a host, such as `redis://10.0.0.7:6379`"),
            // In the address it would be shown wherever the configuration is.
            Some(authority) if authority.contains('@') => {
                findings.reject(
                    "address",
                    "an address without user and password: they stand in `user` and `password`",
                );
            }
            Some(_) => {}
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        if self.prefix.is_empty() || self.prefix.len() > 128 || !self.prefix.bytes().all(is_plain) {
            findings.reject("prefix", "1 to 128 letters, digits and `-_.:/`");
        }
        if self.user.is_some() && self.password.is_none() {
            findings.reject("user", "given together with `password`");
        }
        check_times(findings, self.ttl, self.timeout);
        findings.within("tls", |findings| self.tls.check(findings));
    }
}
