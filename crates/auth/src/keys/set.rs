//! The keys of an issuer at one time (RFC 7517 section 5).

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::jwk::Key;
use crate::{Refusal, json};

/// So many keys of one issuer are read; more is no key set of an issuer.
const MOST: usize = 100;

/// Keys, as they were known at one time.
#[derive(Debug, Default)]
pub(crate) struct Set {
    keys: Vec<Arc<Key>>,
}

/// A key is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// It could be a new one.
    Unknown,
    /// It would not help to look again.
    Refused(Refusal),
}

impl Set {
    pub(super) fn of(keys: Vec<Arc<Key>>) -> Self {
        Self { keys }
    }

    /// Reads a key set, with the keys of `earlier` where they are the same. Keys that are of no use here are left out, and
    /// logged when they are new.
    pub(crate) fn parse(bytes: &[u8], rsa: Algorithm, earlier: &Self, issuer: &str) -> Result<Self, String> {
        let object = json::object(bytes).map_err(|_| "it is not a JSON object, each name once".to_owned())?;
        let Some(Value::Array(listed)) = object.get("keys") else {
            return Err("it has no list `keys`".to_owned());
        };
        if listed.len() > MOST {
            return Err(format!("it has {} keys, more than {MOST}", listed.len()));
        }
        let mut keys = Vec::with_capacity(listed.len());
        for published in listed {
            if let Some(known) = earlier.keys.iter().find(|key| key.is(published)) {
                keys.push(Arc::clone(known));
                continue;
            }
            match Key::of_jwk(published, rsa) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(why) => {
                    let kid = published.get("kid").and_then(Value::as_str);
                    tracing::warn!(issuer, kid, why, "a key of the issuer can't be used");
                }
            }
        }
        // With none nobody is let in: an issuer that says so is broken, or somebody else.
        if keys.iter().any(|key| key.is_for_signatures()) {
            Ok(Self { keys })
        } else {
            Err("it has no key that can be used".to_owned())
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// What may be told of each.
    pub(super) fn to_json(&self) -> Vec<Value> {
        self.keys.iter().map(|key| key.to_json()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Those that `key_id` and `algorithm` may mean.
    pub(crate) fn find(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<impl Iterator<Item = &Arc<Key>> + Clone, NotFound> {
        // A secret has no name to be found by.
        let is_meant = move |key: &&Arc<Key>| match key_id {
            Some(_) => key.is_secret() || key.id.as_deref() == key_id,
            None => key.is_for_signatures() && key.algorithm == algorithm,
        };
        let meant = self.keys.iter().filter(is_meant);
        let fits = move |key: &&Arc<Key>| key.is_for_signatures() && key.algorithm == algorithm;
        match meant.clone().filter(fits).count() {
            0 if meant.clone().next().is_none() => Err(NotFound::Unknown),
            0 if meant.clone().all(|key| !key.is_for_signatures()) => Err(NotFound::Refused(Refusal::KeyUse)),
            0 => Err(NotFound::Refused(Refusal::WrongAlgorithm)),
            // Which one is not said: trying all of them would be work for whoever sends rubbish.
            2.. if key_id.is_none() => Err(NotFound::Refused(Refusal::MissingKeyId)),
            _ => Ok(meant.filter(fits).take(2)),
        }
    }

    /// Tells the keys that are not in `next` that they are gone.
    pub(super) fn leave_to(&self, next: &Self) {
        for key in &self.keys {
            if !next.keys.iter().any(|kept| Arc::ptr_eq(kept, key)) {
                key.leave();
            }
        }
    }
}
