//! The path of a value in the configuration.

use std::fmt;

use toml_edit::Key as TomlKey;

/// The path of a value: `server.address`, `upstreams[0].name`.
///
/// Parts that are not bare TOML keys are quoted when written: `labels."a.b"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<Segment>);

/// One step of a [`Key`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Segment {
    Name(String),
    Index(usize),
}

impl Key {
    /// The root of the configuration; written as nothing.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a dotted key as TOML writes it: `server.address`, `labels."a.b"`. Empty text is the root.
    ///
    /// Indices (`upstreams[0]`) are only written, never read: what sets one element sets the list.
    ///
    /// # Errors
    /// What TOML's grammar has against the text.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if text.trim().is_empty() {
            return Ok(Self::root());
        }
        let parts = TomlKey::parse(text).map_err(|error| {
            let reason = match one_line(error.message()) {
                reason if reason.is_empty() => "a part is empty or not a TOML key".to_owned(),
                reason => reason,
            };
            InvalidKey { key: text.to_owned(), reason }
        })?;
        Ok(Self(parts.into_iter().map(|part| Segment::Name(part.get().to_owned())).collect()))
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `prefix` is this key or one of the tables that hold it.
    #[must_use]
    pub fn starts_with(&self, prefix: &Key) -> bool {
        self.0.starts_with(&prefix.0)
    }

    /// The key below this one.
    #[must_use]
    pub fn join(&self, below: &Key) -> Self {
        let mut segments = self.0.clone();
        segments.extend(below.0.iter().cloned());
        Self(segments)
    }

    /// The key of the entry `name` of this table.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        self.with(Segment::Name(name.to_owned()))
    }

    pub(super) fn element(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    pub(super) fn from_segments(segments: Vec<Segment>) -> Self {
        Self(segments)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub(super) fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }

    pub(super) fn last_name(&self) -> Option<&str> {
        match self.0.last()? {
            Segment::Name(name) => Some(name),
            Segment::Index(_) => None,
        }
    }

    /// What is left of this key below `prefix`.
    pub(super) fn below(&self, prefix: &Key) -> Option<Self> {
        Some(Self(self.0.strip_prefix(prefix.0.as_slice())?.to_vec()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Name(name) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(&TomlKey::new(name.as_str()).display_repr())?;
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is not a key: {reason}")]
pub struct InvalidKey {
    key: String,
    reason: String,
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
