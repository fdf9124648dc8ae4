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

    /// Reads a dotted key as TOML writes it, with indices for elements of lists: `server.address`, `labels."a.b"`,
    /// `upstreams[0].name`. Empty text is the root.
    ///
    /// # Errors
    /// What TOML's grammar has against the text.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let mut segments = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let names_end = first_bracket(rest).unwrap_or(rest.len());
            let (names, after) = rest.split_at(names_end);
            if !names.is_empty() {
                // After an index a dot leads to the entry of the element.
                let names = match names.strip_prefix('.') {
                    Some(names) if !segments.is_empty() => names,
                    None if segments.is_empty() => names,
                    _ => return Err(InvalidKey::new(text, "a dot is missing or too many")),
                };
                let parts = TomlKey::parse(names).map_err(|error| InvalidKey::new(text, error.message()))?;
                segments.extend(parts.into_iter().map(|part| Segment::Name(part.get().to_owned())));
            }
            rest = match after.strip_prefix('[') {
                None => after,
                Some(after) => {
                    let index =
                        after.split_once(']').and_then(|(index, rest)| Some((index.parse().ok()?, rest)));
                    let Some((index, rest)) = index.filter(|_| !segments.is_empty()) else {
                        return Err(InvalidKey::new(text, "an index is a number in brackets behind a name"));
                    };
                    segments.push(Segment::Index(index));
                    rest
                }
            };
        }
        Ok(Self(segments))
    }

    /// Whether a part of the key is the index of a list's element.
    pub(super) fn has_index(&self) -> bool {
        self.0.iter().any(|segment| matches!(segment, Segment::Index(_)))
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

impl InvalidKey {
    fn new(key: &str, reason: &str) -> Self {
        let reason = match one_line(reason) {
            reason if reason.is_empty() => "a part is empty or not a TOML key".to_owned(),
            reason => reason,
        };
        Self { key: key.to_owned(), reason }
    }
}

/// The first opening bracket outside of quotes.
fn first_bracket(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, '[') => return Some(at),
            (None, '"' | '\'') => quote = Some(character),
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), _) if open == character && !escaped => quote = None,
            _ => {}
        }
        escaped = false;
    }
    None
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_is_no_key_is_refused() {
        for wrong in [".", "a.", ".a", "a..b", "a b", "[0]", "a[", "a[]", "a[x]", "a[0]b", "a[0]..b", "\"a"] {
            assert!(Key::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    fn segment() -> impl Strategy<Value = Segment> {
        prop_oneof![
            ".{1,6}".prop_map(Segment::Name),
            "[a-z_-]{1,6}".prop_map(Segment::Name),
            (0usize..100).prop_map(Segment::Index)
        ]
    }

    proptest! {
        #[test]
        fn a_written_key_reads_the_same(name in "[a-z\"'\\\\\\[.]{1,5}", rest in proptest::collection::vec(segment(), 0..5)) {
            let key = Key(std::iter::once(Segment::Name(name)).chain(rest).collect());
            prop_assert_eq!(Key::parse(&key.to_string()), Ok(key));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,16}|[a.\\[\\]0\"' ]{0,12}") {
            let _ = Key::parse(&text);
        }
    }
}
