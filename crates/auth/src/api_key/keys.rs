//! The keys that are known, and whether one that was shown is among them.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use serde_json::Map;

use super::{config::Entry, date};
use crate::{
    Principal, Refusal,
    principal::{Identity, Means},
};

/// Longer ones are refused unread.
const LONGEST: usize = 256;
/// What stands as the issuer of those that were let in by a key.
pub(super) const ISSUER: &str = "urn:mainstay:api-keys";

/// By prefix.
#[derive(Default)]
pub(super) struct Keys(HashMap<String, Known>);

struct Known {
    hash: [u8; 32],
    principal: Principal,
}

impl Keys {
    /// Of entries, by the names of their owners. What is wrong with one is told with its name.
    pub(super) fn of<'a>(entries: impl IntoIterator<Item = (&'a String, &'a Entry)>) -> Result<Self, String> {
        let mut keys = HashMap::new();
        for (name, entry) in entries {
            entry.check().map_err(|(key, expected)| format!("{name}.{key}: expected {expected}"))?;
            let Some(hash) = entry.hash() else { continue };
            let identity = Identity {
                issuer: ISSUER.to_owned(),
                subject: Some(name.clone()),
                client: Some(name.clone()),
                scopes: entry.scopes.clone(),
                roles: entry.roles.clone(),
                expires: entry.expires.as_deref().and_then(date::seconds).unwrap_or(f64::INFINITY),
                claims: Map::new(),
                means: Means::ApiKey,
                bound: None,
            };
            let known = Known { hash, principal: Principal(Arc::new(identity)) };
            if keys.insert(entry.prefix.clone(), known).is_some() {
                return Err(format!("{name}.prefix: expected another prefix than that of another key"));
            }
        }
        Ok(Self(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whose key it is, at `now` (seconds since 1970).
    pub(super) fn owner(&self, key: &[u8], now: f64) -> Option<Result<Principal, Refusal>> {
        if key.len() > LONGEST {
            return None;
        }
        let (prefix, _) = std::str::from_utf8(key).ok()?.split_once('.')?;
        // Who learns from the time that there is such a prefix has learnt what is no secret.
        let known = self.0.get(prefix)?;
        let hash = digest::digest(&digest::SHA256, key);
        verify_slices_are_equal(hash.as_ref(), &known.hash).ok()?;
        if now >= known.principal.expires() {
            return Some(Err(Refusal::ExpiredApiKey));
        }
        Some(Ok(known.principal.clone()))
    }
}

pub(super) fn is_prefix(prefix: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (4..=64).contains(&prefix.len()) && prefix.bytes().all(is_good)
}
