//! Keys of programs that have no issuer: long random texts, of which only a hash is kept here.
//!
//! ```toml
//! [auth.api_keys]
//! file = "/etc/orders/api-keys.json"    # {"billing": {"prefix": "…", "sha256": "…", "scopes": ["orders:read"]}}
//!
//! [auth.api_keys.keys.billing]          # or here
//! prefix = "mk_0f3a9c51d2e8"
//! sha256 = "…"
//! scopes = ["orders:read"]
//! expires = "2027-01-31"
//! ```
//!
//! A key is a prefix, a point, and 256 random bits: `mk_0f3a9c51d2e8.u7Jk…`. The prefix finds it and may stand in logs; the hash of the
//! whole is compared in constant time. SHA-256, and not argon2: a password is guessed, which has to cost the guesser something; of 256
//! random bits there is nothing to guess, and a costly hash on each request would be a way to overload the service. So make keys by
//! [`ApiKey::generate`] only, never by hand.
//!
//! ```
//! use mainstay_auth::{ApiKey, Config, Verifier, api_key};
//! use mainstay_core::task::Tasks;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = ApiKey::generate()?;
//! let mut config = Config::new(["orders"]);
//! config.api_keys = api_key::Config::default().with_key("billing", key.entry().with_scopes(["orders:read"]));
//! let verifier = Verifier::open(&config, &Tasks::new()).await?;
//!
//! let shown = key.expose(); // told its owner once, and kept nowhere
//! assert_eq!(verifier.api_key(shown.as_bytes())?.subject(), Some("billing"));
//! # Ok(()) }
//! ```
//!
//! **When not to use it.** For people, and where there is an issuer: a key is good until somebody takes it out, for whoever has it.
//! **Where it stands.** In the [`authenticate`](crate::authenticate) layer: a request has a token or a key, not both. **On drop** of the
//! last clone of a `Verifier` the file is not watched any more.

mod config;
mod date;
mod keys;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::Arc,
};

use arc_swap::ArcSwap;
use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, header};
use mainstay_core::task::Tasks;
use tokio_util::sync::DropGuard;

pub use self::config::{Config, Entry};
use self::keys::Keys;
use crate::{Principal, Refusal, file};

/// A key that was just made: for its owner to keep, and for nobody else.
pub struct ApiKey {
    prefix: String,
    text: String,
}

/// There are no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system has no random numbers")]
pub struct NoRandom(());

impl ApiKey {
    /// With 256 random bits, and a prefix of 48 others.
    ///
    /// # Errors
    /// [`NoRandom`] where the system has none.
    pub fn generate() -> Result<Self, NoRandom> {
        let (mut name, mut secret) = ([0; 6], [0; 32]);
        rand::fill(&mut name).and_then(|()| rand::fill(&mut secret)).map_err(|_| NoRandom(()))?;
        let prefix = format!("mk_{}", hexadecimal(&name));
        Ok(Self { text: format!("{prefix}.{}", URL_SAFE_NO_PAD.encode(secret)), prefix })
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let hash = digest::digest(&digest::SHA256, self.text.as_bytes());
        Entry { prefix: self.prefix.clone(), sha256: hexadecimal(hash.as_ref()), ..Entry::default() }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Entry {
    /// Whose owner may do this.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Which ends then.
    #[must_use]
    pub fn with_expiry(mut self, expires: impl Into<String>) -> Self {
        self.expires = Some(expires.into());
        self
    }
}

/// The keys of the configuration and of its file.
pub(crate) struct ApiKeys {
    field: HeaderName,
    configured: Keys,
    of_file: Arc<ArcSwap<Keys>>,
    _stop: Option<DropGuard>,
}

impl ApiKeys {
    /// `None` where there are none.
    ///
    /// # Errors
    /// The key of the configuration that can't be used, and why.
    pub(crate) async fn open(config: &Config, tasks: &Tasks) -> Result<Option<Self>, (&'static str, String)> {
        if config.is_empty() {
            return Ok(None);
        }
        let field = config.field().ok_or_else(|| ("header", "it is no name".to_owned()))?;
        let configured = Keys::of(&config.keys).map_err(|what| ("keys", what))?;
        let of_file = Arc::<ArcSwap<Keys>>::default();
        let mut stop = None;
        if let Some(path) = &config.file {
            let failed = |what| ("file", what);
            let content = file::read(path.clone()).await.map_err(failed)?;
            of_file.store(Arc::new(read(&content).map_err(failed)?));
            let token = tasks.stopping().child_token();
            let (keys, shown) = (of_file.clone(), path.display().to_string());
            let watch = file::watch(path.clone(), content, move |content| {
                match content.map_err(ToOwned::to_owned).and_then(read) {
                    Ok(new) => {
                        tracing::info!(
                            path = shown,
                            keys = new.len(),
                            "the API keys of the changed file are in use"
                        );
                        keys.store(Arc::new(new));
                    }
                    Err(error) => {
                        tracing::warn!(
                            path = shown,
                            error,
                            "the file of API keys can't be used, the last known ones stay in use"
                        );
                    }
                }
            });
            tasks.spawn_detached(token.clone().run_until_cancelled_owned(watch));
            stop = Some(token.drop_guard());
        }
        Ok(Some(Self { field, configured, of_file, _stop: stop }))
    }

    /// The key that a request shows.
    pub(crate) fn shown<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a [u8]>, Refusal> {
        let mut fields = headers.get_all(&self.field).iter();
        let Some(field) = fields.next() else { return Ok(None) };
        let key = if self.field == header::AUTHORIZATION {
            let bytes = field.as_bytes();
            let end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
            let (scheme, rest) = bytes.split_at(end);
            if !scheme.eq_ignore_ascii_case(b"apikey") {
                return Ok(None);
            }
            rest.trim_ascii()
        } else {
            field.as_bytes()
        };
        if fields.next().is_some() { Err(Refusal::SeveralCredentials) } else { Ok(Some(key)) }
    }

    /// Whose key it is, at `now` (seconds since 1970).
    pub(crate) fn owner(&self, key: &[u8], now: f64) -> Result<Principal, Refusal> {
        let owner = self.configured.owner(key, now).or_else(|| self.of_file.load().owner(key, now));
        owner.unwrap_or(Err(Refusal::UnknownApiKey))
    }
}

fn read(content: &[u8]) -> Result<Keys, String> {
    let entries: BTreeMap<String, Entry> =
        serde_json::from_slice(content).map_err(|error| error.to_string())?;
    Keys::of(&entries)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
