//! The table `[discovery.etcd]`.

use mainstay_core::config::{Duration, Findings, Secret, Section};
use serde::{Deserialize, Serialize};

use crate::registry::{Tls, check_times};

/// The table `[discovery.etcd]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The members of one cluster, version 3.4 or newer: `http://HOST:PORT`, with TLS `https://`. One is used at a
    /// time; when it fails the next one. Default `http://127.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// What all keys begin with; without a `/` at its end. Default `/mainstay/services`.
    pub prefix: String,
    /// The user. Default none.
    pub user: Option<String>,
    /// The password. Default none.
    pub password: Option<Secret>,
    /// How long a registration is kept that is not renewed, in whole seconds. Default 10 s, from 2 s to 1 h.
    pub ttl: Duration,
    /// How long a request to a member may take. Default 2 s, from 50 ms to half of `ttl`.
    pub timeout: Duration,
    /// TLS, where the endpoints have the scheme `https`.
    pub tls: Tls,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            prefix: "/mainstay/services".to_owned(),
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
        if self.endpoints.is_empty() {
            findings.reject("endpoints", "at least one address such as `http://10.0.0.7:2379`");
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let is_tcp = endpoint.starts_with("http://") || endpoint.starts_with("https://");
            if !is_tcp || endpoint.parse::<crate::Endpoint>().is_err() {
                findings.reject(
                    &format!("endpoints[{index}]"),
                    "an address such as `http://10.0.0.7:2379` or `https://…`, without path, user and password",
                );
            }
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic();
        let is_prefix = !self.prefix.is_empty() && self.prefix.len() <= 128 && !self.prefix.ends_with('/');
        if !is_prefix || !self.prefix.bytes().all(is_plain) {
            findings.reject("prefix", "1 to 128 printable characters, without `/` at the end");
        }
        if self.user.is_some() != self.password.is_some() {
            findings.reject("user", "given together with `password`, or neither of them");
        }
        check_times(findings, self.ttl, self.timeout);
        if self.ttl.get().subsec_nanos() != 0 {
            findings.reject("ttl", "whole seconds: leases of etcd have no smaller unit");
        }
        findings.within("tls", |findings| self.tls.check(findings));
    }
}
