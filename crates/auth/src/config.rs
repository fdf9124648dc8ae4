//! `auth` of the configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use mainstay_core::config::{ByteSize, Duration, Findings, Secret, Section};
use serde::{Deserialize, Serialize};

pub use crate::keys::{Hmac, Rsa};
use crate::{
    api_key, certificate,
    fetch::{Url, wrong_url},
    introspection::{self, Tokens},
    outgoing,
};

/// `[auth]`: whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Whether a process without any issuer does not start. Where there is an issuer, what was not declared public wants a
    /// token anyway. Default true; false in the profile `dev`.
    pub required: bool,
    /// What this is as a resource (RFC 8707, RFC 9728), such as `https://api.example`: clients find out there whose tokens
    /// are taken. Default: none, and they have to know.
    pub resource: Option<String>,
    /// Whether tokens are taken from query strings (`access_token`), where logs and histories keep them (RFC 9700 section
    /// 4.3.2). Default false.
    pub query_token: bool,
    /// Names of this service in `aud`; one of them has to be there. None by default: each issuer then needs its own.
    pub audience: Vec<String>,
    /// `[auth.issuers.NAME]`: whose tokens are taken. None by default.
    pub issuers: BTreeMap<String, Issuer>,
    /// Keys of programs that are no token of an issuer. None by default.
    pub api_keys: api_key::Config,
    /// Whom the certificates of clients say that they are. Nobody by default.
    pub certificates: certificate::Config,
    /// What calls to other services show for themselves.
    pub outgoing: outgoing::Config,
    /// How far the clocks of issuers may be wrong. Default 30 s, at most 5 min.
    pub leeway: Duration,
    /// Longer tokens are refused unread. Default 8 KiB, at most 64 KiB.
    pub max_token: ByteSize,
    /// So many verified tokens are remembered; 0 for none. Default 8192, at most 1048576.
    pub cache: usize,
    /// `[auth.policy]`: who may do what.
    #[cfg(feature = "policy")]
    pub policy: crate::policy::Config,
}

/// `[auth.issuers.NAME]`. Keys come from one of `jwks`, `jwks_file`, `jwks_url` and `secret`; else from where the metadata of
/// the issuer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Issuer {
    /// What stands in `iss`, byte for byte, such as `https://id.example`. Required.
    pub issuer: String,
    /// In place of `auth.audience`.
    pub audience: Vec<String>,
    /// Rules of RFC 9068 that its tokens need not keep. None by default.
    pub relax: BTreeSet<Relaxation>,
    /// The claim with the roles; with dots the way to it, such as `realm_access.roles`. Default `roles`.
    pub roles: String,
    /// The algorithm of RSA keys that name none. Default `RS256`.
    pub rsa: Rsa,
    /// The key set itself, as JSON.
    pub jwks: Option<String>,
    /// A file with the key set, which is watched.
    pub jwks_file: Option<PathBuf>,
    /// Where the key set is.
    pub jwks_url: Option<String>,
    /// A secret that is shared with the issuer, for HMAC. Secret.
    pub secret: Option<Secret>,
    /// With which HMAC. Default `HS256`.
    pub secret_algorithm: Hmac,
    /// The service of this system that the issuer is, by its name: it is asked for metadata and keys as services call each other,
    /// wherever it is, and of its URLs the paths count alone. Default: none, URLs are followed.
    pub service: Option<String>,
    /// Whether keys are also fetched without TLS from another machine. Default: false.
    pub allow_http: bool,
    /// Who may sign the certificate of the issuer, PEM. Default: the authorities of the platform.
    pub ca_file: Option<PathBuf>,
    /// Keys are fetched anew within this time, earlier where the issuer says so. Default 5 min.
    pub refresh: Duration,
    /// At most one fetch begins within this time, once there are keys, whoever wants which one. Default 1 s: within `wait`, so that a key that
    /// appears without notice is found in time.
    pub cool_down: Duration,
    /// So long keys are used that can't be fetched anew. Default 24 h.
    pub stale_limit: Duration,
    /// For each document that is fetched. Default 5 s.
    pub timeout: Duration,
    /// Tokens that the issuer is asked about (RFC 7662). None by default.
    pub introspection: Option<introspection::Config>,
    /// A request with an unknown key waits this long for a fetch at most, and never beyond its deadline. Default 2 s.
    pub wait: Duration,
}

/// A rule that the tokens of an issuer need not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Relaxation {
    /// `typ` may also be `JWT` or missing. ID tokens then pass too, if their audience is right.
    Typ,
    /// `sub` may be missing.
    Sub,
    /// `client_id` may be missing.
    ClientId,
    /// `iat` may be missing.
    Iat,
    /// `jti` may be missing.
    Jti,
    /// Tokens with `cnf` are taken without the proof that they ask for: as if they were not bound.
    Cnf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            required: true,
            resource: None,
            query_token: false,
            audience: Vec::new(),
            issuers: BTreeMap::new(),
            api_keys: api_key::Config::default(),
            certificates: certificate::Config::default(),
            outgoing: outgoing::Config::default(),
            leeway: Duration::from_secs(30),
            max_token: ByteSize::from_kib(8),
            cache: 8192,
            #[cfg(feature = "policy")]
            policy: crate::policy::Config::default(),
        }
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: Vec::new(),
            relax: BTreeSet::new(),
            roles: "roles".to_owned(),
            rsa: Rsa::default(),
            jwks: None,
            jwks_file: None,
            jwks_url: None,
            secret: None,
            secret_algorithm: Hmac::default(),
            service: None,
            allow_http: false,
            ca_file: None,
            refresh: Duration::from_secs(300),
            cool_down: Duration::from_secs(1),
            stale_limit: Duration::from_secs(24 * 3600),
            timeout: Duration::from_secs(5),
            introspection: None,
            wait: Duration::from_secs(2),
        }
    }
}

impl Issuer {
    /// The issuer with this `iss`, its keys from where its metadata says.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), ..Self::default() }
    }

    /// With these keys.
    #[must_use]
    pub fn with_jwks(mut self, jwks: impl Into<String>) -> Self {
        self.jwks = Some(jwks.into());
        self
    }

    /// With keys from there.
    #[must_use]
    pub fn with_jwks_url(mut self, url: impl Into<String>) -> Self {
        self.jwks_url = Some(url.into());
        self
    }

    /// With this secret.
    #[must_use]
    pub fn with_secret(mut self, secret: impl Into<Secret>, algorithm: Hmac) -> Self {
        (self.secret, self.secret_algorithm) = (Some(secret.into()), algorithm);
        self
    }

    /// Asked about tokens.
    #[must_use]
    pub fn with_introspection(mut self, introspection: introspection::Config) -> Self {
        self.introspection = Some(introspection);
        self
    }

    /// With metadata and keys from the service of this name.
    #[must_use]
    pub fn at_service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Whether its URLs may be without TLS: those of a service are not followed.
    pub(crate) fn allows_http(&self) -> bool {
        self.allow_http || self.service.is_some()
    }

    /// Whether its tokens are not taken by their signatures.
    pub(crate) fn has_no_keys(&self) -> bool {
        self.introspection.as_ref().is_some_and(|introspection| introspection.tokens == Tokens::All)
    }

    /// Without these rules.
    #[must_use]
    pub fn relaxed(mut self, rules: impl IntoIterator<Item = Relaxation>) -> Self {
        self.relax.extend(rules);
        self
    }
}

impl Config {
    /// Takes no tokens yet; those that are for `audience` will do.
    #[must_use]
    pub fn new<A: Into<String>>(audience: impl IntoIterator<Item = A>) -> Self {
        Self { audience: audience.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Takes the tokens of `issuer`, which the log calls `name`.
    #[must_use]
    pub fn with_issuer(mut self, name: impl Into<String>, issuer: Issuer) -> Self {
        self.issuers.insert(name.into(), issuer);
        self
    }

    /// With this as what the resource is.
    #[must_use]
    pub fn with_resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Whether there is no way at all to find out who somebody is.
    #[must_use]
    pub fn knows_nobody(&self) -> bool {
        self.issuers.is_empty() && self.api_keys.is_empty() && self.certificates.is_empty()
    }

    /// What is wrong, by its key within `auth`: what was expected.
    pub(crate) fn wrong(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut reject = |key: String, expected: &str| wrong.push((key, expected.to_owned()));
        if self.leeway > Duration::from_secs(300) {
            reject("leeway".to_owned(), "at most 5m");
        }
        if !(256..=64 << 10).contains(&self.max_token.get()) {
            reject("max_token".to_owned(), "256B to 64KiB");
        }
        if self.cache > 1 << 20 {
            reject("cache".to_owned(), "at most 1048576 tokens");
        }
        let is_resource = |resource: &String| {
            Url::parse(resource).is_some_and(|url| url.is_private() && !resource.contains('?'))
        };
        if self.resource.as_ref().is_some_and(|resource| !is_resource(resource)) {
            reject(
                "resource".to_owned(),
                "an `https` URL without query and fragment, such as `https://api.example`",
            );
        }
        #[cfg(feature = "policy")]
        for (key, expected) in self.policy.wrong() {
            reject(format!("policy.{key}"), &expected);
        }
        let mut prefixes: Vec<(&String, Option<&String>)> = Vec::new();
        let mut seen = BTreeMap::new();
        for (name, issuer) in &self.issuers {
            let mut at = |key: &str, expected: &str| reject(format!("issuers.{name}.{key}"), expected);
            issuer.wrong(&self.audience, &mut at);
            if let Some(introspection) = &issuer.introspection {
                let own = introspection.prefix.as_ref();
                // Nothing is guessed: a token is of one of them.
                let same = prefixes.iter().find(|(_, other)| match (own, other) {
                    (Some(own), Some(other)) => own.starts_with(*other) || other.starts_with(own),
                    (None, None) => true,
                    _ => false,
                });
                if let Some((other, _)) = same {
                    at(
                        "introspection.prefix",
                        &format!(
                            "another prefix than that of `issuers.{other}`, and none that begins with it or the other way round"
                        ),
                    );
                }
                prefixes.push((name, own));
            }
            if let Some(other) = seen.insert(&issuer.issuer, name) {
                at("issuer", &format!("another issuer than that of `issuers.{other}`"));
            }
        }
        self.api_keys.wrong(&mut |key, expected| reject(format!("api_keys.{key}"), expected));
        self.certificates.wrong(&mut |key, expected| reject(format!("certificates.{key}"), expected));
        self.outgoing.wrong(&mut |key, expected| reject(format!("outgoing.{key}"), expected));
        wrong
    }
}

impl Issuer {
    fn wrong(&self, audience: &[String], reject: &mut impl FnMut(&str, &str)) {
        if self.issuer.is_empty() {
            reject("issuer", "what stands in `iss` of its tokens, such as `https://id.example`");
        }
        let audience = if self.audience.is_empty() { audience } else { &self.audience };
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            reject("audience", "what stands in `aud` of tokens for this service, here or in `auth.audience`");
        }
        let sources = [
            ("jwks", self.jwks.is_some()),
            ("jwks_file", self.jwks_file.is_some()),
            ("jwks_url", self.jwks_url.is_some()),
            ("secret", self.secret.is_some()),
        ];
        if let Some((key, _)) = sources.iter().filter(|(_, is_set)| *is_set).nth(1) {
            reject(key, "only one of `jwks`, `jwks_file`, `jwks_url` and `secret`");
        }
        if let Some(introspection) = &self.introspection {
            let mut at = |key: &str, expected: &str| reject(&format!("introspection.{key}"), expected);
            introspection.wrong(self, &mut at);
            if self.has_no_keys()
                && let Some((key, _)) = sources.iter().find(|(_, is_set)| *is_set)
            {
                reject(key, "nothing, since `introspection.tokens` is `all`");
            }
        }
        let least = self.secret_algorithm.least();
        if self.secret.as_ref().is_some_and(|secret| secret.expose().len() < least) {
            reject("secret", &format!("at least {least} bytes"));
        }
        if let Some(url) = &self.jwks_url {
            wrong_url("jwks_url", url, self.allows_http(), reject);
        } else if !self.issuer.is_empty() && !self.has_no_keys() && !sources.iter().any(|(_, is_set)| *is_set)
        {
            wrong_url("issuer", &self.issuer, self.allows_http(), reject);
        }
        for (key, value) in [
            ("refresh", self.refresh),
            ("cool_down", self.cool_down),
            ("stale_limit", self.stale_limit),
            ("timeout", self.timeout),
        ] {
            if value < Duration::from_millis(100) || value > Duration::from_secs(30 * 24 * 3600) {
                reject(key, "100ms to 30 days");
            }
        }
        if self.wait > Duration::from_secs(60) {
            reject("wait", "at most 1m");
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if self.required && self.knows_nobody() {
            findings.reject(
                "required",
                "an issuer whose tokens are taken (`[auth.issuers.NAME]`) or `auth.api_keys`; or `auth.required = false`, to serve everybody",
            );
        }
        for (key, expected) in self.wrong() {
            findings.reject(&key, expected);
        }
    }
}
