//! `auth.issuers.NAME.introspection` of the configuration.

use std::path::PathBuf;

use mainstay_core::config::{Duration, Secret};
use serde::{Deserialize, Serialize};

use crate::{client::Registration, config::Issuer};

/// `[auth.issuers.NAME.introspection]`: tokens that the issuer is asked about (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// About which tokens it is asked. Default: those that are opaque.
    pub tokens: Tokens,
    /// Only tokens that begin so are taken for its. Default: every opaque token, which one issuer at most may say.
    pub prefix: Option<String>,
    /// Where it is asked, in place of what its metadata says.
    pub endpoint: Option<String>,
    /// As which client it is asked. Required.
    pub client_id: String,
    /// With this secret (`client_secret_basic`). Secret.
    pub client_secret: Option<Secret>,
    /// With the private key in this file (`private_key_jwt`): PKCS#8 as PEM.
    pub private_key_file: Option<PathBuf>,
    /// The `kid` of that key. Default: none is sent.
    pub key_id: Option<String>,
    /// So long an answer is believed, and never beyond the `exp` of the token: as long as a token may still be used that was
    /// revoked. Default 1 min, at most 1 h; `0s`: for requests that wait for it only.
    pub max_age: Duration,
    /// Whether answers without `aud` will do, from an issuer that itself looks whether a token is for who asks. Default: false.
    pub audience_optional: bool,
}

/// About which tokens an issuer is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tokens {
    /// Those that are no JWT; its JWTs are verified by their signature.
    #[default]
    Opaque,
    /// Its JWTs as well, by their `iss`: none is taken by its signature, and its keys are not fetched.
    All,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tokens: Tokens::Opaque,
            prefix: None,
            endpoint: None,
            client_id: String::new(),
            client_secret: None,
            private_key_file: None,
            key_id: None,
            max_age: Duration::from_secs(60),
            audience_optional: false,
        }
    }
}

impl Config {
    /// As the client `client_id`, with this secret.
    #[must_use]
    pub fn new(client_id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        Self { client_id: client_id.into(), client_secret: Some(secret.into()), ..Self::default() }
    }

    /// Asked there, whatever the metadata says.
    #[must_use]
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// About its JWTs as well.
    #[must_use]
    pub fn with_all_tokens(mut self) -> Self {
        self.tokens = Tokens::All;
        self
    }

    /// How this process is known to `issuer`.
    pub(super) fn registration(&self, issuer: &Issuer) -> Registration {
        let mut registration = Registration::new(issuer.issuer.as_str(), self.client_id.as_str());
        registration.token_endpoint.clone_from(&self.endpoint);
        registration.client_secret.clone_from(&self.client_secret);
        registration.private_key_file.clone_from(&self.private_key_file);
        registration.key_id.clone_from(&self.key_id);
        registration.service.clone_from(&issuer.service);
        registration.allow_http = issuer.allow_http;
        registration.ca_file.clone_from(&issuer.ca_file);
        registration.timeout = issuer.timeout;
        registration
    }

    /// What is wrong, by its key within `introspection`.
    pub(crate) fn wrong(&self, issuer: &Issuer, reject: &mut impl FnMut(&str, &str)) {
        self.registration(issuer).wrong(&mut |key, expected| match key {
            // Told of the issuer itself.
            "timeout" => {}
            "issuer" if issuer.issuer.is_empty() => {}
            "issuer" | "token_endpoint" => reject("endpoint", expected),
            key => reject(key, expected),
        });
        if self.max_age > Duration::from_secs(3600) {
            reject("max_age", "at most 1h");
        }
        if self.prefix.as_ref().is_some_and(|prefix| prefix.is_empty() || prefix.contains('.')) {
            reject("prefix", "what its tokens begin with, without dots");
        }
    }
}
