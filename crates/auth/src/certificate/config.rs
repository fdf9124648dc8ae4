//! `auth.certificates` of the configuration.

use serde::{Deserialize, Serialize};

use super::name;

/// `[auth.certificates]`: whom the certificates of clients say that they are (mutual TLS). Nobody by default.
///
/// The server has to ask for them (`server.tls.client_certificates`), and verifies them before; which authorities may sign them
/// is said there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Trust domains of SPIFFE, such as `example.org`: a certificate with exactly one URI, a SPIFFE ID of one of them, is for that
    /// ID. None by default.
    pub trust_domains: Vec<String>,
    /// DNS names: a certificate without a URI and with exactly one DNS name, which is one of them, is for that name. With a dot
    /// before it, all below it: `.svc.example.org`. None by default.
    pub dns_names: Vec<String>,
}

impl Config {
    /// Those of these trust domains.
    #[must_use]
    pub fn spiffe<D: Into<String>>(trust_domains: impl IntoIterator<Item = D>) -> Self {
        Self { trust_domains: trust_domains.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// And those with these names.
    #[must_use]
    pub fn with_dns_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.dns_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether they are for nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trust_domains.is_empty() && self.dns_names.is_empty()
    }

    /// What is wrong, by its key within `auth.certificates`: what was expected.
    pub(crate) fn wrong(&self, reject: &mut impl FnMut(String, &str)) {
        if !self.trust_domains.iter().all(|domain| name::is_trust_domain(domain)) {
            reject(
                "trust_domains".to_owned(),
                "trust domains, such as `example.org`: lower-case letters, digits, `.`, `-` and `_`",
            );
        }
        if !self.dns_names.iter().all(|name| name::is_dns(name.strip_prefix('.').unwrap_or(name))) {
            reject(
                "dns_names".to_owned(),
                "DNS names in lower case, such as `orders.example.org`, or `.svc.example.org` for all below",
            );
        }
        if !self.is_empty() && !cfg!(feature = "tls") {
            reject("trust_domains".to_owned(), "a program with the feature `tls`, for client certificates");
        }
    }
}
