use std::collections::BTreeSet;

use mainstay_core::config::Secret;
use serde::{Deserialize, Serialize};

use super::{is_absolute, is_name, uri::is_redirection};

/// `[clients.ID]`: a program that may ask for tokens. It proves who it is with one of `secret`, `secret_sha256` and `jwks`,
/// or is `public`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Client {
    /// What people are asked to consent to is asked for by this name. Default: its id.
    pub name: Option<String>,
    /// Its secret as it is, of at least 16 characters: for development, since it stands in the configuration. Secret.
    pub secret: Option<Secret>,
    /// SHA-256 of its secret, 64 hexadecimal digits: `printf %s "$SECRET" | sha256sum`.
    pub secret_sha256: Option<String>,
    /// Its public keys, a JWK set: it signs its requests (`private_key_jwt`).
    pub jwks: Option<String>,
    /// It can't keep a secret: a program in a browser or on somebody's machine. Default: false.
    pub public: bool,
    /// The secret may also stand in the body (`client_secret_post`). Default: false.
    pub secret_in_body: bool,
    /// How it may get tokens. None by default.
    pub grants: BTreeSet<Grant>,
    /// Where people are sent back to after a login, compared character by character; on `http://127.0.0.1` and `http://[::1]` with
    /// any port. What answers there must not redirect to another origin: browsers would not follow. None by default.
    pub redirect_uris: Vec<String>,
    /// Where people may be sent after a logout. None by default.
    pub post_logout_redirect_uris: Vec<String>,
    /// What it may ask to do; `openid`, `profile`, `email` and `offline_access` too. None by default.
    pub scopes: BTreeSet<String>,
    /// Whom its tokens may be for, by `aud`. Without being asked they are for the first; without one, only for this provider.
    pub audiences: Vec<String>,
    /// `roles` of tokens that it gets for itself. None by default.
    pub roles: Vec<String>,
    /// Whether people are asked before it gets tokens that act for them. Default: true.
    pub consent: bool,
    /// It may ask what any token says (introspection), as services do that take tokens. Default: only of those issued to it.
    pub introspects: bool,
}

/// How a client may get tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Grant {
    /// After somebody's login, by a code (RFC 6749 section 4.1) with PKCE (RFC 7636).
    AuthorizationCode,
    /// Again after that, without a login, where `offline_access` was granted (section 6).
    RefreshToken,
    /// For itself (section 4.4).
    ClientCredentials,
    /// For a call on behalf of whoever's token it was called with (RFC 8693).
    TokenExchange,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            name: None,
            secret: None,
            secret_sha256: None,
            jwks: None,
            public: false,
            secret_in_body: false,
            grants: BTreeSet::new(),
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            scopes: BTreeSet::new(),
            audiences: Vec::new(),
            roles: Vec::new(),
            consent: true,
            introspects: false,
        }
    }
}

impl Client {
    /// One that proves who it is with this secret.
    #[must_use]
    pub fn with_secret(secret: impl Into<Secret>) -> Self {
        Self { secret: Some(secret.into()), ..Self::default() }
    }

    /// One that signs with the keys of this JWK set.
    #[must_use]
    pub fn with_jwks(jwks: impl Into<String>) -> Self {
        Self { jwks: Some(jwks.into()), ..Self::default() }
    }

    /// One that can't keep a secret.
    #[must_use]
    pub fn public() -> Self {
        Self { public: true, ..Self::default() }
    }

    /// May get tokens like this.
    #[must_use]
    pub fn with_grants(mut self, grants: impl IntoIterator<Item = Grant>) -> Self {
        self.grants.extend(grants);
        self
    }

    /// May send people back there.
    #[must_use]
    pub fn with_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uris.push(uri.into());
        self
    }

    /// May ask for this.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// May ask for tokens for these.
    #[must_use]
    pub fn with_audiences<A: Into<String>>(mut self, audiences: impl IntoIterator<Item = A>) -> Self {
        self.audiences.extend(audiences.into_iter().map(Into::into));
        self
    }

    /// Asks nobody for consent: one of our own.
    #[must_use]
    pub fn without_consent(mut self) -> Self {
        self.consent = false;
        self
    }

    pub(in crate::issuer) fn may(&self, grant: Grant) -> bool {
        self.grants.contains(&grant)
    }

    pub(in crate::issuer) fn wrong(&self, reject: &mut impl FnMut(&str, &str)) {
        let proofs = [
            ("secret", self.secret.is_some()),
            ("secret_sha256", self.secret_sha256.is_some()),
            ("jwks", self.jwks.is_some()),
            ("public", self.public),
        ];
        let mut given = proofs.iter().filter(|(_, is_set)| *is_set);
        match (given.next(), given.next()) {
            (None, _) => reject("secret", "one of `secret`, `secret_sha256` and `jwks`, or `public = true`"),
            (Some(_), Some((key, _))) => {
                reject(key, "only one of `secret`, `secret_sha256`, `jwks` and `public`")
            }
            _ => {}
        }
        if self.secret.as_ref().is_some_and(|secret| !(16..=1024).contains(&secret.expose().len())) {
            reject("secret", "16 to 1024 bytes, and random ones: nothing slows down who tries them");
        }
        let is_hash = |hash: &String| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if self.secret_sha256.as_ref().is_some_and(|hash| !is_hash(hash)) {
            reject("secret_sha256", "64 hexadecimal digits");
        }
        for grant in [Grant::ClientCredentials, Grant::TokenExchange] {
            if self.public && self.may(grant) {
                reject(
                    "grants",
                    "a client that proves who it is, for `client_credentials` and `token_exchange`",
                );
            }
        }
        if self.public && self.introspects {
            reject("introspects", "a client that proves who it is");
        }
        if self.may(Grant::AuthorizationCode) == self.redirect_uris.is_empty() {
            reject("redirect_uris", "one or more with the grant `authorization_code`, and none without");
        }
        if self.may(Grant::RefreshToken) && !self.may(Grant::AuthorizationCode) {
            reject("grants", "`authorization_code` beside `refresh_token`");
        }
        for (key, uris) in [
            ("redirect_uris", &self.redirect_uris),
            ("post_logout_redirect_uris", &self.post_logout_redirect_uris),
        ] {
            if !uris.iter().all(|uri| is_redirection(uri)) {
                let expected = "absolute URIs without fragment: `https`, `http` on this machine, or a scheme of your own with \
                                a dot in it";
                reject(key, expected);
            }
        }
        // RFC 6749 section 3.3: NQCHAR, which is what `is_name` lets through.
        if !self.scopes.iter().all(|scope| is_name(scope)) {
            reject("scopes", "words of visible ASCII characters, without `\"` and `\\`");
        }
        let is_audience = |audience: &String| is_name(audience) || is_absolute(audience);
        if !self.audiences.iter().all(is_audience) {
            reject("audiences", "names or absolute URIs");
        }
    }
}
