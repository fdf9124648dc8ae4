//! What the provider signs with: a ring of keys, of which one signs, the next is published already, and the last is published
//! still.

mod file;
mod kept;
mod signing;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::json;

use self::kept::{Kept, Version};
pub(super) use self::signing::SigningKey;
use super::{config, store::Store};
use crate::keys::Key;

/// Verifiers' clocks may be wrong by this much, in seconds.
const LEEWAY: u64 = 300;
/// So often, in seconds, keys are read that other processes may change.
pub(super) const SHARED_INTERVAL: u64 = 5;
/// So often a change is tried that others come before.
const TRIES: usize = 5;

/// The keys, and when they change.
pub(super) struct Ring {
    current: ArcSwap<State>,
    /// One change at a time; held across writing them down.
    change: tokio::sync::Mutex<()>,
    kept: Kept,
    config: config::Keys,
    /// How long a token is good for, in seconds.
    token: u64,
}

/// The keys at one time.
struct State {
    /// By when they begin to sign, the oldest first; never none.
    keys: Vec<Arc<SigningKey>>,
    jwks: Bytes,
    /// As they were read.
    version: Version,
}

impl Ring {
    /// Reads the keys, or makes the first.
    pub(super) async fn open(config: &config::Config, store: &Store, now: u64) -> Result<Self, Failed> {
        let kept = Kept::of(config, store);
        let key = kept.key();
        Self::read(config, kept, now).await.map_err(|what| Failed { key, what })
    }

    async fn read(config: &config::Config, kept: Kept, now: u64) -> Result<Self, String> {
        let state = match kept.read(&None, now).await? {
            Some((keys, version)) if !keys.is_empty() => State::of(keys, version),
            _ => {
                let keys = vec![made(config.keys.algorithm, now).await?];
                if kept.write(&None, &keys, now).await? {
                    State::of(keys, None)
                } else {
                    // Another process was first.
                    let (keys, version) =
                        kept.read(&None, now).await?.ok_or("the first keys are gone again")?;
                    State::of(keys, version)
                }
            }
        };
        let ring = Self {
            current: ArcSwap::from_pointee(state),
            change: tokio::sync::Mutex::new(()),
            kept,
            config: config.keys.clone(),
            token: config.token.as_secs(),
        };
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

    /// Takes over what other processes have changed, and does what is due: publishes the next key, forgets those whose tokens are
    /// gone.
    pub(super) async fn turn(&self, now: u64) -> Result<(), String> {
        let _one = self.change.lock().await;
        for _ in 0..TRIES {
            let state = self.reread(now).await?;
            let next = match self.due(&state, now) {
                Some(begins) => Some(made(self.config.algorithm, begins).await?),
                None => None,
            };
            let kept = state.kept(now, self.token + LEEWAY);
            if next.is_none() && kept.len() == state.keys.len() {
                return Ok(());
            }
            if self.replace(&state, kept.into_iter().chain(next.clone()).collect(), now).await? {
                if let Some(next) = &next {
                    tracing::info!(
                        kid = next.id(),
                        signs_from = next.signs_from(),
                        "the next signing key is published"
                    );
                }
                return Ok(());
            }
        }
        Err(OTHERS.to_owned())
    }

    /// From when on the next key has to sign, if it is to be published now.
    fn due(&self, state: &State, now: u64) -> Option<u64> {
        let signer = state.signer(now);
        let newest = state.keys.last().unwrap_or(signer);
        let (rotation, ahead) = (self.config.rotation.as_secs(), self.config.ahead.as_secs());
        let is_old = now >= signer.signs_from() + rotation - ahead;
        let is_due = is_old || signer.algorithm() != self.config.algorithm;
        if newest.signs_from() > now || !is_due {
            return None;
        }
        // The algorithm of the configuration is not waited for longer than it has to be.
        Some(if is_old { (signer.signs_from() + rotation).max(now + ahead) } else { now + ahead })
    }

    /// A new key that signs without notice, as soon as all processes know it.
    pub(super) async fn rotate(&self, now: u64) -> Result<(), Failed> {
        let failed = |what| Failed { key: self.kept.key(), what };
        let _one = self.change.lock().await;
        let begins = if self.kept.is_shared() { now + 2 * SHARED_INTERVAL } else { now };
        let next = made(self.config.algorithm, begins).await.map_err(failed)?;
        for _ in 0..TRIES {
            let state = self.reread(now).await.map_err(failed)?;
            // One that waits for its time would take over again.
            let kept = state.kept(now, self.token + LEEWAY).into_iter().filter(|key| key.signs_from() <= now);
            let keys = kept.chain([Arc::clone(&next)]).collect();
            if self.replace(&state, keys, now).await.map_err(failed)? {
                return Ok(());
            }
        }
        Err(failed(OTHERS.to_owned()))
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
        let most = if self.kept.is_shared() { SHARED_INTERVAL } else { 600 };
        (self.config.ahead.get() / 4).min(std::time::Duration::from_secs(most))
    }

    /// How long the key set may be taken for new: the next key is known before it signs.
    pub(super) fn max_age(&self) -> u64 {
        (self.config.ahead.as_secs() / 2).min(300)
    }

    /// The keys, with what other processes have changed.
    async fn reread(&self, now: u64) -> Result<Arc<State>, String> {
        if self.kept.is_shared()
            && let Some((keys, version)) = self.kept.read(&self.current.load().version, now).await?
        {
            self.current.store(Arc::new(State::of(keys, version)));
        }
        Ok(self.current.load_full())
    }

    /// What is not kept must not sign: nobody would know it after a restart. False where another process was first.
    async fn replace(&self, state: &State, keys: Vec<Arc<SigningKey>>, now: u64) -> Result<bool, String> {
        let is_written = self.kept.write(&state.version, &keys, now).await?;
        if is_written {
            self.current.store(Arc::new(State::of(keys, None)));
        }
        Ok(is_written)
    }
}

const OTHERS: &str = "other processes change the signing keys all the time";

/// What is wrong, by the setting that says where keys are kept.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) key: &'static str,
    pub(super) what: String,
}

impl State {
    fn of(mut keys: Vec<Arc<SigningKey>>, version: Version) -> Self {
        // Of two that begin at once the later one signs.
        keys.sort_by_key(|key| key.signs_from());
        let published: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        let jwks = json!({ "keys": published }).to_string().into();
        Self { keys, jwks, version }
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
        f.debug_struct("Ring").field("keys", &keys).field("kept", &self.kept.key()).finish_non_exhaustive()
    }
}
