//! What the provider signs with: a ring of keys, of which one signs, the next is published already, and the last is published
//! still.

mod file;
mod signing;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::json;

pub(super) use self::signing::SigningKey;
use super::config;
use crate::keys::Key;

/// Verifiers' clocks may be wrong by this much, in seconds.
const LEEWAY: u64 = 300;

/// The keys, and when they change.
pub(super) struct Ring {
    current: ArcSwap<State>,
    /// One change at a time; held across writing the file.
    change: tokio::sync::Mutex<()>,
    config: config::Keys,
    /// How long a token is good for, in seconds.
    token: u64,
}

/// The keys at one time.
struct State {
    /// By when they begin to sign, the oldest first; never none.
    keys: Vec<Arc<SigningKey>>,
    jwks: Bytes,
}

impl Ring {
    /// Reads the keys, or makes the first.
    pub(super) async fn open(config: &config::Keys, token: u64, now: u64) -> Result<Self, String> {
        let keys = match &config.file {
            Some(path) => {
                blocking({
                    let path = path.clone();
                    move || file::read(&path)
                })
                .await?
            }
            None => Vec::new(),
        };
        let is_new = keys.is_empty();
        let keys = if is_new { vec![made(config.algorithm, now).await?] } else { keys };
        let ring = Self {
            current: ArcSwap::from_pointee(State::of(keys)),
            change: tokio::sync::Mutex::new(()),
            config: config.clone(),
            token,
        };
        if is_new {
            ring.keep().await?;
        }
        ring.turn(now).await?;
        Ok(ring)
    }

    /// What signs at `now`.
    pub(super) fn signer(&self, now: u64) -> Arc<SigningKey> {
        Arc::clone(self.current.load().signer(now))
    }

    /// The public keys, as a JWK set.
    pub(super) fn jwks(&self) -> Bytes {
        self.current.load().jwks.clone()
    }

    /// The public key of this name.
    pub(super) fn public(&self, id: &str) -> Option<Arc<Key>> {
        let state = self.current.load();
        Some(Arc::clone(state.keys.iter().find(|key| key.id() == id)?.public()))
    }

    /// Does what is due: publishes the next key, forgets those whose tokens are gone.
    pub(super) async fn turn(&self, now: u64) -> Result<(), String> {
        let _one = self.change.lock().await;
        let state = self.current.load_full();
        let signer = state.signer(now);
        let newest = state.keys.last().unwrap_or(signer);
        let due = signer.signs_from() + self.config.rotation.as_secs() - self.config.ahead.as_secs();
        let is_due = now >= due || signer.algorithm() != self.config.algorithm;
        let next = if newest.signs_from() <= now && is_due {
            let begins =
                (signer.signs_from() + self.config.rotation.as_secs()).max(now + self.config.ahead.as_secs());
            // The algorithm of the configuration is not waited for longer than it has to be.
            let begins = if now >= due { begins } else { now + self.config.ahead.as_secs() };
            Some(made(self.config.algorithm, begins).await?)
        } else {
            None
        };
        let kept = state.kept(now, self.token + LEEWAY);
        if next.is_none() && kept.len() == state.keys.len() {
            return Ok(());
        }
        if let Some(next) = &next {
            tracing::info!(
                kid = next.id(),
                signs_from = next.signs_from(),
                "the next signing key is published"
            );
        }
        self.replace(kept.into_iter().chain(next).collect()).await
    }

    /// A new key that signs at once, without notice.
    pub(super) async fn rotate(&self, now: u64) -> Result<(), String> {
        let _one = self.change.lock().await;
        let state = self.current.load_full();
        let next = made(self.config.algorithm, now).await?;
        // One that waits for its time would take over again.
        let kept = state.kept(now, self.token + LEEWAY).into_iter().filter(|key| key.signs_from() <= now);
        self.replace(kept.chain([next]).collect()).await
    }

    /// Keys of the same names that have signed nothing.
    pub(super) async fn forged(&self) -> Result<serde_json::Value, String> {
        let other = made(config::Algorithm::ES256, 0).await?;
        let state = self.current.load_full();
        let forged = state.keys.iter().map(|key| {
            let mut jwk = other.jwk().clone();
            jwk["kid"] = key.id().into();
            jwk
        });
        Ok(json!({ "keys": forged.collect::<Vec<_>>() }))
    }

    /// How often [`turn`](Self::turn) has to be called at least.
    pub(super) fn interval(&self) -> std::time::Duration {
        (self.config.ahead.get() / 4).min(std::time::Duration::from_secs(600))
    }

    /// How long the key set may be taken for new: the next key is known before it signs.
    pub(super) fn max_age(&self) -> u64 {
        (self.config.ahead.as_secs() / 2).min(300)
    }

    async fn replace(&self, keys: Vec<Arc<SigningKey>>) -> Result<(), String> {
        let earlier = self.current.swap(Arc::new(State::of(keys)));
        // What is not kept must not sign: nobody would know it after a restart.
        self.keep().await.inspect_err(|_| self.current.store(earlier))
    }

    async fn keep(&self) -> Result<(), String> {
        let Some(path) = self.config.file.clone() else { return Ok(()) };
        let keys = self.current.load().keys.clone();
        blocking(move || file::write(&path, &keys)).await
    }
}

impl State {
    fn of(mut keys: Vec<Arc<SigningKey>>) -> Self {
        // Of two that begin at once the later one signs.
        keys.sort_by_key(|key| key.signs_from());
        let published: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        let jwks = json!({ "keys": published }).to_string().into();
        Self { keys, jwks }
    }

    fn signer(&self, now: u64) -> &Arc<SigningKey> {
        let signs = |key: &&Arc<SigningKey>| key.signs_from() <= now;
        // A clock that was set back leaves none: then the oldest.
        #[expect(clippy::indexing_slicing, reason = "there is always one")]
        self.keys.iter().rfind(signs).unwrap_or(&self.keys[0])
    }

    /// All but those that were succeeded so long ago that their tokens are gone.
    fn kept(&self, now: u64, lasting: u64) -> Vec<Arc<SigningKey>> {
        let successors = self.keys.iter().skip(1).map(|key| key.signs_from()).chain([u64::MAX]);
        let pairs = self.keys.iter().zip(successors);
        let kept = pairs.filter(|(_, succeeded)| succeeded.saturating_add(lasting) > now);
        kept.map(|(key, _)| Arc::clone(key)).collect()
    }
}

/// RSA keys take long to make.
async fn made(algorithm: config::Algorithm, signs_from: u64) -> Result<Arc<SigningKey>, String> {
    blocking(move || SigningKey::generate(algorithm, signs_from).map(Arc::new)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.current.load();
        let keys: Vec<_> = state.keys.iter().map(|key| (key.id(), key.signs_from())).collect();
        f.debug_struct("Ring").field("keys", &keys).field("file", &self.config.file).finish_non_exhaustive()
    }
}
