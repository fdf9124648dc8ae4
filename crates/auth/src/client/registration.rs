//! How a client is known to who issues tokens.

use std::path::PathBuf;

use mainstay_core::config::{Duration, Secret};
use serde::{Deserialize, Serialize};

use crate::fetch::wrong_url;

/// How a client is known to who issues tokens (RFC 6749 section 2): where tokens are, and what it proves itself with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Registration {
    /// The issuer, such as `https://id.example`, whose metadata says where tokens are.
    pub issuer: Option<String>,
    /// Where tokens are, in place of what metadata says.
    pub token_endpoint: Option<String>,
    /// `client_id`. Required.
    pub client_id: String,
    /// With this secret (`client_secret_basic`). Secret.
    pub client_secret: Option<Secret>,
    /// With the private key in this file (`private_key_jwt`, RFC 7523): PKCS#8 as PEM, of RSA (signs RS256), P-256 (ES256), P-384
    /// (ES384) or Ed25519 (EdDSA). It is read for each token, so that it may be replaced.
    pub private_key_file: Option<PathBuf>,
    /// The `kid` of that key. Default: none is sent.
    pub key_id: Option<String>,
    /// The service of this system that the issuer is, by its name: it is asked as services call each other, wherever it is, and of
    /// its URLs the paths count alone. Default: none, URLs are followed.
    pub service: Option<String>,
    /// Whether tokens are also fetched without TLS from another machine. Default: false.
    pub allow_http: bool,
    /// Who may sign the certificate of the issuer, PEM. Default: the authorities of the platform.
    pub ca_file: Option<PathBuf>,
    /// For each request for a token. Default 5 s.
    pub timeout: Duration,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            issuer: None,
            token_endpoint: None,
            client_id: String::new(),
            client_secret: None,
            private_key_file: None,
            key_id: None,
            service: None,
            allow_http: false,
            ca_file: None,
            timeout: Duration::from_secs(5),
        }
    }
}

impl Registration {
    /// The client `client_id` of `issuer`.
    #[must_use]
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self { issuer: Some(issuer.into()), client_id: client_id.into(), ..Self::default() }
    }

    /// With this secret.
    #[must_use]
    pub fn with_secret(mut self, secret: impl Into<Secret>) -> Self {
        self.client_secret = Some(secret.into());
        self
    }

    /// With tokens from there, whatever the metadata says.
    #[must_use]
    pub fn with_token_endpoint(mut self, url: impl Into<String>) -> Self {
        self.token_endpoint = Some(url.into());
        self
    }

    /// With tokens from the service of this name.
    #[must_use]
    pub fn at_service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Whether its URLs may be without TLS: those of a service are not followed.
    pub(crate) fn allows_http(&self) -> bool {
        self.allow_http || self.service.is_some()
    }

    pub(crate) fn wrong(&self, reject: &mut impl FnMut(&str, &str)) {
        if self.client_id.is_empty() {
            reject("client_id", "the name that the issuer knows the client by");
        }
        match (&self.client_secret, &self.private_key_file) {
            (None, None) => reject("client_secret", "a secret, or `private_key_file`"),
            (Some(_), Some(_)) => reject("private_key_file", "only one of it and `client_secret`"),
            _ => {}
        }
        if self.timeout < Duration::from_millis(100) || self.timeout > Duration::from_secs(60) {
            reject("timeout", "100ms to 1m");
        }
        match (&self.token_endpoint, &self.issuer) {
            (Some(url), _) => wrong_url("token_endpoint", url, self.allows_http(), reject),
            (None, Some(url)) => wrong_url("issuer", url, self.allows_http(), reject),
            (None, None) => reject("issuer", "the issuer, such as `https://id.example`, or `token_endpoint`"),
        }
    }
}
