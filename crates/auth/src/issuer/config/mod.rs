//! The section of the configuration that a provider is made from.

mod client;
mod store;
mod uri;
mod user;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use mainstay_core::config::{Duration, Findings, Secret, Section};
use serde::{Deserialize, Serialize};

pub(super) use self::uri::{is_absolute, is_redirection_to};
pub use self::{
    client::{Client, Grant},
    store::Store,
    user::User,
};
use crate::fetch::Url;

/// An OpenID provider: who it is, whom it knows, how long what it gives out is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Its URL, `iss` of all its tokens, byte for byte: without a slash at the end, query and fragment. `https`, on loopback also
    /// `http`. Required.
    pub issuer: String,
    /// Whether `issuer` may be `http` on another machine, such as behind a gateway that speaks TLS to nobody. Default: false.
    pub allow_http: bool,
    /// `[keys]`: what it signs with.
    pub keys: Keys,
    /// `[store]`: where it remembers things. In memory by default.
    pub store: Store,
    /// `[clients.ID]`: programs that may ask for tokens, beside those in the database of `store`, of which one with the same id does not
    /// count. None by default.
    pub clients: BTreeMap<String, Client>,
    /// `[users.NAME]`: people who may log in, beside those in the database of `store`, of whom one with the same name or subject does not
    /// count. None by default.
    pub users: BTreeMap<String, User>,
    /// `[scopes]`: what people read of a scope who are asked to allow it, after "it may", such as
    /// `"orders:write" = "place and cancel orders"`; 1 to 200 characters. Default: the scope itself, as it is.
    pub scopes: BTreeMap<String, String>,
    /// How long access and ID tokens are good for. Default 10 min; 10 s to 24 h.
    pub token: Duration,
    /// How long a refresh token is good for if it is not used. Default 14 days; 1 min to 1 year.
    pub refresh: Duration,
    /// How long a login lasts in the browser. Default 12 h; 1 min to 90 days.
    pub session: Duration,
    /// So many failed logins of one user and more have to wait. Default 5; 1 to 1000.
    pub failures_of_user: u32,
    /// So many failed logins from one address and more have to wait; 0 for no such limit, which is right where all requests come
    /// from one gateway. Default 50.
    pub failures_of_address: u32,
    /// Whether it can be told to misbehave, by `Provider::faults` and by whoever reaches it (`POST /faults`): for tests, and on loopback
    /// only. Default: false.
    pub faults: bool,
}

/// `[keys]`: what tokens are signed with, and when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Keys {
    /// What new keys are for. Default `ES256`.
    pub algorithm: Algorithm,
    /// Where they are kept, readable for this user alone, by one process. Default: in the database of `store`, where its processes
    /// share them; without one in memory: then tokens end with the process.
    pub file: Option<PathBuf>,
    /// How long one signs. Default 30 days; 1 min to 10 years.
    pub rotation: Duration,
    /// How long the next is published before it signs, so that all who verify know it. Default 1 h; 1 s up to half of `rotation`.
    pub ahead: Duration,
}

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "their names are those of RFC 7518 section 3.1 and RFC 8037 section 3.1")]
#[non_exhaustive]
pub enum Algorithm {
    #[default]
    ES256,
    RS256,
    EdDSA,
}

impl Algorithm {
    pub(super) const ALL: [Self; 3] = [Self::ES256, Self::RS256, Self::EdDSA];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            allow_http: false,
            keys: Keys::default(),
            store: Store::default(),
            clients: BTreeMap::new(),
            users: BTreeMap::new(),
            scopes: BTreeMap::new(),
            token: Duration::from_secs(600),
            refresh: Duration::from_secs(14 * DAY),
            session: Duration::from_secs(12 * 3600),
            failures_of_user: 5,
            failures_of_address: 50,
            faults: false,
        }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            file: None,
            rotation: Duration::from_secs(30 * DAY),
            ahead: Duration::from_secs(3600),
        }
    }
}

const DAY: u64 = 24 * 3600;

impl Config {
    /// The provider at this URL, which knows nobody yet.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), ..Self::default() }
    }

    /// Remembers things in the database at this URL ([`Store::url`]).
    #[must_use]
    pub fn with_store(mut self, url: impl Into<Secret>) -> Self {
        self.store = Store::new(url);
        self
    }

    /// Knows this client.
    #[must_use]
    pub fn with_client(mut self, id: impl Into<String>, client: Client) -> Self {
        self.clients.insert(id.into(), client);
        self
    }

    /// Knows this user.
    #[must_use]
    pub fn with_user(mut self, name: impl Into<String>, user: User) -> Self {
        self.users.insert(name.into(), user);
        self
    }

    /// Tells people of a scope in these words.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>, words: impl Into<String>) -> Self {
        self.scopes.insert(scope.into(), words.into());
        self
    }

    /// What is wrong, by its key: what was expected.
    pub(super) fn wrong(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut reject = |key: &str, expected: &str| wrong.push((key.to_owned(), expected.to_owned()));
        match Url::parse(&self.issuer) {
            None => reject("issuer", "the URL of the provider, such as `https://id.example`"),
            Some(_) if self.issuer.contains('?') || self.issuer.ends_with('/') => {
                reject("issuer", "a URL without a query, and without a slash at its end");
            }
            // The path becomes one of routes, where braces would catch what they are not meant to.
            Some(url) if url.path().contains(['{', '}', '%', '*']) => {
                reject("issuer", "a URL whose path has letters, digits, `-`, `.`, `_` and `/` only");
            }
            Some(url) if !url.is_private() && !self.allow_http => {
                reject("issuer", "an `https` URL, or `allow_http = true`");
            }
            Some(_) => {}
        }
        if self.faults && !Url::parse(&self.issuer).is_some_and(|url| url.is_private() && !url.is_tls()) {
            reject("faults", "false, or an `http` issuer on loopback");
        }
        for (key, value, least, most) in [
            ("token", self.token, 10, DAY),
            ("refresh", self.refresh, 60, 366 * DAY),
            ("session", self.session, 60, 90 * DAY),
            ("keys.rotation", self.keys.rotation, 60, 3660 * DAY),
        ] {
            if value < Duration::from_secs(least) || value > Duration::from_secs(most) {
                reject(key, &format!("{} to {}", Duration::from_secs(least), Duration::from_secs(most)));
            }
        }
        if self.keys.ahead < Duration::from_secs(1) || self.keys.ahead.get() > self.keys.rotation.get() / 2 {
            reject("keys.ahead", "1s up to half of `keys.rotation`");
        }
        self.store.wrong(&mut |key, expected| reject(&format!("store.{key}"), expected));
        if !(1..=1000).contains(&self.failures_of_user) {
            reject("failures_of_user", "1 to 1000");
        }
        for (id, client) in &self.clients {
            let mut at = |key: &str, expected: &str| reject(&format!("clients.{id}.{key}"), expected);
            if !is_name(id) {
                at("", "an id of 1 to 200 visible ASCII characters, without `\"` and `\\`");
            }
            client.wrong(&mut at);
        }
        for (scope, words) in &self.scopes {
            let key = format!("scopes.{scope}");
            let is_known = self.clients.values().any(|client| client.scopes.contains(scope));
            // Clients in the database have others.
            if !is_known && self.store.url.is_none() {
                reject(&key, "a scope that a client has in its `scopes`");
            }
            if !(1..=200).contains(&words.chars().count()) || words.chars().any(char::is_control) {
                reject(&key, "what people read of it, 1 to 200 characters in one line");
            }
        }
        let mut subjects = BTreeSet::new();
        for (name, user) in &self.users {
            let mut at = |key: &str, expected: &str| reject(&format!("users.{name}.{key}"), expected);
            if !is_login(name) {
                at("", "a name of 1 to 200 characters");
            }
            user.wrong(&mut at);
            if !subjects.insert(user.subject.as_deref().unwrap_or(name)) {
                at("subject", "one that no other user has, since services know users by it");
            }
        }
        wrong
    }
}

/// Whether it can stand in a token and in a header: VSCHAR of RFC 6749 appendix A, without what has to be escaped.
pub(super) fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
}

/// Whether somebody may be called so.
pub(super) fn is_login(text: &str) -> bool {
    (1..=200).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        for (key, expected) in self.wrong() {
            findings.reject(key.trim_end_matches('.'), expected);
        }
    }
}
