//! The table `[discovery.nats]`.

use std::path::PathBuf;

use mainstay_core::config::{Duration, Findings, Secret, Section};
use serde::{Deserialize, Serialize};

use crate::registry::{Tls, check_times};

/// The table `[discovery.nats]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The servers, of one cluster, with JetStream: `nats://HOST:PORT`, with TLS `tls://`. Others of the cluster are
    /// learnt from them. Default `nats://127.0.0.1:4222`.
    pub servers: Vec<String>,
    /// The key-value bucket: letters, digits, `-` and `_`. Made where it is not there, with `ttl` as the age at which
    /// it forgets. Default `mainstay-services`.
    pub bucket: String,
    /// How many servers keep the bucket, where this process makes it. Default 1, from 1 to 5.
    pub replicas: usize,
    /// The user. Default none.
    pub user: Option<String>,
    /// The password. Default none.
    pub password: Option<Secret>,
    /// The token, in the place of user and password. Default none.
    pub token: Option<Secret>,
    /// A file with a JWT and the seed of its key, as `nsc` writes it. Default none.
    pub credentials_file: Option<PathBuf>,
    /// How long a registration is kept that is not renewed. A bucket that is there must keep its entries at least as
    /// long. Default 10 s, from 2 s to 1 h.
    pub ttl: Duration,
    /// How long a request to the server may take. Default 2 s, from 50 ms to half of `ttl`.
    pub timeout: Duration,
    /// TLS, where the addresses have the scheme `tls`.
    pub tls: Tls,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            bucket: "mainstay-services".to_owned(),
            replicas: 1,
            user: None,
            password: None,
            token: None,
            credentials_file: None,
            ttl: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            tls: Tls::default(),
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if self.servers.is_empty() {
            findings.reject("servers", "at least one address such as `nats://10.0.0.7:4222`");
        }
        for (index, server) in self.servers.iter().enumerate() {
            let key = format!("servers[{index}]");
            match server.strip_prefix("nats://").or_else(|| server.strip_prefix("tls://")) {
                None | Some("") => {
                    findings.reject(&key, "an address such as `nats://10.0.0.7:4222` or `tls://…`");
                }
                // In the address it would be shown wherever the configuration is.
                Some(authority) if authority.contains('@') => findings.reject(
                    &key,
                    "an address without user and password: they stand in `user` and `password`",
                ),
                Some(_) => {}
            }
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if self.bucket.is_empty() || self.bucket.len() > 64 || !self.bucket.bytes().all(is_plain) {
            findings.reject("bucket", "1 to 64 letters, digits, `-` and `_`");
        }
        if !(1..=5).contains(&self.replicas) {
            findings.reject("replicas", "between 1 and 5");
        }
        if self.user.is_some() != self.password.is_some() {
            findings.reject("user", "given together with `password`, or neither of them");
        }
        let ways = [self.user.is_some(), self.token.is_some(), self.credentials_file.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            findings.reject("user", "one of `user`, `token` and `credentials_file`");
        }
        check_times(findings, self.ttl, self.timeout);
        findings.within("tls", |findings| self.tls.check(findings));
    }
}
