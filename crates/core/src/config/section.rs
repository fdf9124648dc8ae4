//! What a type promises to be a tree of the configuration.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::Key;

/// A typed tree of the configuration: the framework's, or a service's own.
///
/// Unknown keys are refused, with or without `deny_unknown_fields`. serde's defaults are the built-in defaults.
/// `Serialize` is what the printed configuration shows, so that defaults are shown too and a
/// [`Secret`](super::Secret) shows itself redacted.
///
/// ```
/// use mainstay_core::config::{Duration, Findings, Keys, Section};
///
/// #[derive(serde::Deserialize, serde::Serialize)]
/// #[serde(default, deny_unknown_fields)]
/// struct Orders {
///     reserve: Duration,
///     expire: Duration,
/// }
///
/// impl Default for Orders {
///     fn default() -> Self {
///         Self { reserve: Duration::from_secs(5), expire: Duration::from_secs(60) }
///     }
/// }
///
/// impl Section for Orders {
///     fn check(&self, findings: &mut Findings) {
///         if self.reserve >= self.expire {
///             findings.reject("reserve", format_args!("less than `expire` ({})", self.expire));
///         }
///     }
///
///     fn reloadable(keys: &mut Keys) {
///         keys.add("reserve");
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a section of the configuration",
    label = "not a configuration section",
    note = "derive serde's `Deserialize` and `Serialize`, then write `impl mainstay::config::Section for {Self} {{}}`"
)]
pub trait Section: DeserializeOwned + Serialize + Send + Sync + 'static {
    /// Reports what is wrong with values that are each well-formed but don't go together.
    /// Called when every value of the tree could be read.
    fn check(&self, findings: &mut Findings) {
        let _ = findings;
    }

    /// Names the keys whose change takes effect without a restart. None by default.
    fn reloadable(keys: &mut Keys) {
        let _ = keys;
    }
}

/// Collects what [`Section::check`] finds. The loader adds the source and the value of each key.
#[derive(Debug, Default)]
pub struct Findings {
    at: Key,
    pub(super) refused: Vec<(Key, String)>,
}

impl Findings {
    /// Refuses the value of `key` (dotted, relative to the section); `expected` says what it should be:
    /// "less than `drain.timeout` (30s)".
    pub fn reject(&mut self, key: &str, expected: impl fmt::Display) {
        let key = relative(&self.at, key);
        self.refused.push((key, expected.to_string()));
    }

    /// Calls `check` with keys relative to the section `name` of this one.
    pub fn within(&mut self, name: &str, check: impl FnOnce(&mut Findings)) {
        let outer = std::mem::replace(&mut self.at, Key::root());
        self.at = relative(&outer, name);
        check(self);
        self.at = outer;
    }

    /// Whether nothing was refused so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }
}

/// Collects the keys that may change at run time.
#[derive(Debug, Default)]
pub struct Keys {
    at: Key,
    pub(super) keys: Vec<Key>,
}

impl Keys {
    /// Adds a key (dotted, relative to the section), or with a table everything in it.
    pub fn add(&mut self, key: &str) {
        self.keys.push(relative(&self.at, key));
    }

    /// Calls `name_keys` with keys relative to the section `name` of this one; usually with its
    /// [`Section::reloadable`].
    pub fn within(&mut self, name: &str, name_keys: impl FnOnce(&mut Keys)) {
        let outer = std::mem::replace(&mut self.at, Key::root());
        self.at = relative(&outer, name);
        name_keys(self);
        self.at = outer;
    }
}

/// A text that is no TOML key stands for the one key of that name.
fn relative(at: &Key, key: &str) -> Key {
    match Key::parse(key) {
        Ok(key) => at.join(&key),
        Err(_) => at.child(key),
    }
}
