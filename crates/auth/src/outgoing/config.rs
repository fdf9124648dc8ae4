//! `auth.outgoing` of the configuration.

use std::collections::BTreeMap;

use mainstay_core::config::Duration;
use serde::{Deserialize, Serialize};

use crate::client::Registration;

/// `[auth.outgoing]`: what calls to other services show for themselves. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// How the services of this process are known to who issues tokens.
    pub client: Option<Registration>,
    /// `[auth.outgoing.clients.NAME]`: how single services of this process are known, by their names; and others that targets
    /// name.
    pub clients: BTreeMap<String, Registration>,
    /// `[auth.outgoing.targets.NAME]`: what calls to the service of that name show. Others are shown nothing.
    pub targets: BTreeMap<String, Target>,
}

/// `[auth.outgoing.targets.NAME]`: what calls to one service show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Target {
    /// Whose token. Default: nobody's.
    pub mode: Mode,
    /// As which of `clients` the token is asked for. Default: the one with the name of the service that calls, else `client`.
    pub client: Option<String>,
    /// For whom the token is, as the issuer calls it (`audience`; RFC 8693 section 2.1, and what many issuers know). Default:
    /// nothing is sent.
    pub audience: Option<String>,
    /// For whom the token is, by its URI (`resource`, RFC 8707). Default: nothing is sent.
    pub resource: Option<String>,
    /// What the token has to allow. Default: nothing is sent, and the issuer decides.
    pub scopes: Vec<String>,
    /// With `token_exchange`: whether the own token of the client goes along as `actor_token`, so that the new one says who acts
    /// for whom (`act`). Many issuers say it by the client alone. Default: false.
    pub actor: bool,
    /// With `token_exchange`: so many tokens are remembered. Default 4096, at most 1048576.
    pub cache: usize,
    /// With `token_exchange`: so long at most, so that a token that was revoked is not exchanged for ever. Default 5 min.
    pub max_age: Duration,
}

/// Whose token a call shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// Nobody's: the call shows nothing.
    #[default]
    None,
    /// That of the service itself (RFC 6749 section 4.4).
    ClientCredentials,
    /// One for the target, in exchange for the token that the request which is being handled came with (RFC 8693). Calls outside
    /// of such a request show nothing.
    TokenExchange,
    /// The token that the request came with. Whoever gets it can use it as its owner could: for services that are trusted as
    /// this one is, and are among its audiences.
    Forward,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            mode: Mode::None,
            client: None,
            audience: None,
            resource: None,
            scopes: Vec::new(),
            actor: false,
            cache: 4096,
            max_age: Duration::from_secs(300),
        }
    }
}

impl Target {
    /// With the token of the service itself, for `audience`.
    #[must_use]
    pub fn client_credentials(audience: impl Into<String>) -> Self {
        Self { mode: Mode::ClientCredentials, audience: Some(audience.into()), ..Self::default() }
    }

    /// With a token for `audience`, in exchange for that of the request which is being handled.
    #[must_use]
    pub fn token_exchange(audience: impl Into<String>) -> Self {
        Self { mode: Mode::TokenExchange, audience: Some(audience.into()), ..Self::default() }
    }

    /// With the token of the request which is being handled.
    #[must_use]
    pub fn forward() -> Self {
        Self { mode: Mode::Forward, ..Self::default() }
    }

    /// Which has to allow `scopes`.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    fn wrong(&self, config: &Config, reject: &mut impl FnMut(&str, &str)) {
        if self.cache == 0 || self.cache > 1 << 20 {
            reject("cache", "1 to 1048576 tokens");
        }
        if self.max_age.is_zero() {
            reject("max_age", "a duration above zero");
        }
        // RFC 6749 section 3.3.
        let is_scope = |scope: &String| {
            !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
        };
        if !self.scopes.iter().all(is_scope) {
            reject("scopes", "scopes, one text for each, without spaces and quotes");
        }
        // RFC 8707 section 2: an absolute URI without a fragment.
        if let Some(resource) = &self.resource
            && (!resource.contains(':') || resource.contains('#') || resource.parse::<http::Uri>().is_err())
        {
            reject("resource", "an absolute URI without a fragment, such as `https://inventory.example`");
        }
        match self.mode {
            Mode::None | Mode::Forward => {
                let is_for_tokens = self.client.is_some()
                    || self.audience.is_some()
                    || self.resource.is_some()
                    || !self.scopes.is_empty();
                if is_for_tokens {
                    reject("mode", "`client_credentials` or `token_exchange`, for which the rest is");
                }
            }
            Mode::ClientCredentials | Mode::TokenExchange => {
                if self.audience.is_none() && self.resource.is_none() && self.scopes.is_empty() {
                    // A token for nobody in particular would be good everywhere.
                    reject("audience", "for whom the token is: `audience`, `resource` or `scopes`");
                }
                match &self.client {
                    Some(name) if !config.clients.contains_key(name) => {
                        reject("client", "the name of one of `auth.outgoing.clients`");
                    }
                    None if config.client.is_none() && config.clients.is_empty() => {
                        reject("mode", "`auth.outgoing.client`, as which the token is asked for");
                    }
                    _ => {}
                }
            }
        }
        if self.actor && self.mode != Mode::TokenExchange {
            reject("actor", "false, but with `token_exchange`");
        }
    }
}

impl Config {
    /// As `client` where nothing else is said.
    #[must_use]
    pub fn new(client: Registration) -> Self {
        Self { client: Some(client), ..Self::default() }
    }

    /// The service `name` of this process is known as `client`.
    #[must_use]
    pub fn with_client(mut self, name: impl Into<String>, client: Registration) -> Self {
        self.clients.insert(name.into(), client);
        self
    }

    /// Calls to the service `name` show what `target` says.
    #[must_use]
    pub fn with_target(mut self, name: impl Into<String>, target: Target) -> Self {
        self.targets.insert(name.into(), target);
        self
    }

    /// All clients, by name; `client` has none.
    pub(super) fn registrations(&self) -> impl Iterator<Item = (Option<&String>, &Registration)> {
        let named = self.clients.iter().map(|(name, registration)| (Some(name), registration));
        self.client.iter().map(|registration| (None, registration)).chain(named)
    }

    /// What is wrong, by its key within `auth.outgoing`: what was expected.
    pub(crate) fn wrong(&self, reject: &mut impl FnMut(String, &str)) {
        if let Some(client) = &self.client {
            client.wrong(&mut |key, expected| reject(format!("client.{key}"), expected));
        }
        for (name, client) in &self.clients {
            client.wrong(&mut |key, expected| reject(format!("clients.{name}.{key}"), expected));
        }
        for (name, target) in &self.targets {
            target.wrong(self, &mut |key, expected| reject(format!("targets.{name}.{key}"), expected));
        }
    }
}
