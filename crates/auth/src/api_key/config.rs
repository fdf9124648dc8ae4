//! `auth.api_keys` of the configuration.

use std::{collections::BTreeMap, path::PathBuf};

use http::{HeaderName, header};
use serde::{Deserialize, Serialize};

use super::{date, keys};

/// `[auth.api_keys]`: keys of programs that have no issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The header field that they come in; with `authorization` they come as `Authorization: ApiKey KEY`. Default `x-api-key`.
    pub header: String,
    /// `[auth.api_keys.keys.NAME]`: whose they are, by name. None by default.
    pub keys: BTreeMap<String, Entry>,
    /// A file with more of them, which is watched: a JSON object with a member for each name, as here. None by default.
    pub file: Option<PathBuf>,
}

/// `[auth.api_keys.keys.NAME]`: a key, of which only its hash is kept. Its owner is the subject and the client NAME.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Entry {
    /// What stands before the point in the key, which finds it; no secret. Required.
    pub prefix: String,
    /// SHA-256 of the whole key, in hexadecimal digits. Required.
    pub sha256: String,
    /// What its owner may do. Nothing by default.
    pub scopes: Vec<String>,
    /// What its owner is. Nothing by default.
    pub roles: Vec<String>,
    /// When it ends, such as `2027-01-31` (the first moment of that day, UTC) or `2027-01-31T12:00:00Z`. Default: never.
    pub expires: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { header: "x-api-key".to_owned(), keys: BTreeMap::new(), file: None }
    }
}

impl Config {
    /// With this key.
    #[must_use]
    pub fn with_key(mut self, name: impl Into<String>, entry: Entry) -> Self {
        self.keys.insert(name.into(), entry);
        self
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.file.is_none()
    }

    /// The field that they come in; none that others have a use for.
    pub(super) fn field(&self) -> Option<HeaderName> {
        let field = HeaderName::try_from(self.header.as_str()).ok()?;
        let is_taken =
            [header::COOKIE, header::HOST, header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(&field);
        (!is_taken).then_some(field)
    }

    /// What is wrong, by its key within `auth.api_keys`: what was expected.
    pub(crate) fn wrong(&self, reject: &mut impl FnMut(String, &str)) {
        if self.field().is_none() {
            reject(
                "header".to_owned(),
                "the name of a header field of its own, such as `x-api-key`, or `authorization`",
            );
        }
        let mut seen = BTreeMap::new();
        for (name, entry) in &self.keys {
            if let Err((key, expected)) = entry.check() {
                reject(format!("keys.{name}.{key}"), expected);
            } else if let Some(other) = seen.insert(&entry.prefix, name) {
                reject(format!("keys.{name}.prefix"), &format!("another prefix than that of `keys.{other}`"));
            }
        }
    }
}

impl Entry {
    /// Looks whether it can be used.
    ///
    /// # Errors
    /// The member that can't, and what was expected.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !keys::is_prefix(&self.prefix) {
            return Err((
                "prefix",
                "what stands before the point in the key: 4 to 64 letters, digits, `-` and `_`",
            ));
        }
        if self.hash().is_none() {
            return Err(("sha256", "64 hexadecimal digits: SHA-256 of the key"));
        }
        if self.expires.as_ref().is_some_and(|expires| date::seconds(expires).is_none()) {
            return Err(("expires", "a date such as `2027-01-31` or `2027-01-31T12:00:00Z`"));
        }
        Ok(())
    }

    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        if self.sha256.len() != 64 || !self.sha256.is_ascii() {
            return None;
        }
        let mut hash = [0; 32];
        for (place, digits) in hash.iter_mut().zip(self.sha256.as_bytes().chunks_exact(2)) {
            let [high, low] = digits else { return None };
            let digit = |byte: u8| char::from(byte).to_digit(16);
            *place = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
        }
        Some(hash)
    }
}
