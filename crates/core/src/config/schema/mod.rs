//! The keys that a type knows, found by asking the type.
//!
//! serde has no reflection, but a type tells its deserializer what it wants: [`explore`] offers every struct all of its
//! fields and every enum all of its variants, with stand-ins for values, and writes down what was asked for.
//! What is asked for only after buffering (`flatten`, untagged and internally tagged enums) stays open: any key.

mod explore;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::key::{Key, Segment};

/// What a type wants at a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// A struct, with its keys.
    Table(Vec<String>),
    /// A map: any key.
    Map,
    List,
    /// One of these variants, as text or as the key of a table.
    Enum(Vec<String>),
    Scalar,
    /// Whatever comes.
    Any,
}

#[derive(Clone, Debug)]
struct Seen {
    shape: Shape,
    /// What the type says it expects here.
    expecting: String,
    secret: bool,
}

/// The known keys of a type.
#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    seen: BTreeMap<Key, Seen>,
}

/// Stands for every key of a map.
const ANY_NAME: &str = "*";

impl Schema {
    pub(super) fn of<T: DeserializeOwned>() -> Self {
        explore::explore::<T>()
    }

    /// A table of which nothing is known.
    pub(super) fn open() -> Self {
        let seen = Seen { shape: Shape::Any, expecting: String::new(), secret: false };
        Self { seen: BTreeMap::from([(Key::root(), seen)]) }
    }

    /// What the type wants at `key`; `None` for a key that it does not know.
    pub(super) fn shape(&self, key: &Key) -> Option<&Shape> {
        self.find(key).map(|(seen, _)| &seen.shape)
    }

    /// What the type says it expects at `key`.
    pub(super) fn expecting(&self, key: &Key) -> Option<&str> {
        let (seen, _) = self.find(key)?;
        (seen.shape != Shape::Any && !seen.expecting.is_empty()).then_some(&seen.expecting)
    }

    /// Whether `key` or a table around it is a [`Secret`](super::Secret).
    pub(super) fn is_secret(&self, key: &Key) -> bool {
        self.find(key).is_some_and(|(_, secret)| secret)
    }

    /// The keys that hold values.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &Key> {
        self.seen
            .iter()
            .filter(|(_, seen)| !matches!(seen.shape, Shape::Table(_)))
            .map(|(key, _)| key)
            .filter(|key| !key.segments().iter().any(is_placeholder))
    }

    /// The key that the parts of an environment variable's name mean; `existing` are the keys of maps in other layers.
    pub(super) fn resolve(&self, parts: &[&str], existing: &dyn Fn(&Key) -> Vec<String>) -> Option<Key> {
        self.resolve_below(&Key::root(), &Key::root(), parts, existing)
    }

    fn resolve_below(
        &self,
        pattern: &Key,
        key: &Key,
        parts: &[&str],
        existing: &dyn Fn(&Key) -> Vec<String>,
    ) -> Option<Key> {
        let Some((first, rest)) = parts.split_first() else { return Some(key.clone()) };
        match &self.seen.get(pattern)?.shape {
            Shape::Table(names) | Shape::Enum(names) => {
                // A key may hold two underscores itself: the shortest that leads somewhere is meant.
                (1..=parts.len()).find_map(|count| {
                    let (head, rest) = parts.split_at_checked(count)?;
                    let wanted = normalized(&head.join("__"));
                    let name = names.iter().find(|name| normalized(name) == wanted)?;
                    let (pattern, key) = (pattern.child(name), key.child(name));
                    self.resolve_below(&pattern, &key, rest, existing)
                })
            }
            Shape::Map => {
                let wanted = normalized(first);
                let name = existing(key).into_iter().find(|name| normalized(name) == wanted);
                let key = key.child(&name.unwrap_or_else(|| first.to_ascii_lowercase()));
                self.resolve_below(&pattern.child(ANY_NAME), &key, rest, existing)
            }
            Shape::Any => Some(parts.iter().fold(key.clone(), |key, part| {
                let wanted = normalized(part);
                let name = existing(&key).into_iter().find(|name| normalized(name) == wanted);
                key.child(&name.unwrap_or_else(|| part.to_ascii_lowercase()))
            })),
            Shape::List | Shape::Scalar => None,
        }
    }

    /// What was seen at `key`, and whether it or something around it is secret.
    fn find(&self, key: &Key) -> Option<(&Seen, bool)> {
        let mut pattern = Key::root();
        let mut seen = self.seen.get(&pattern)?;
        let mut secret = seen.secret;
        for segment in key.segments() {
            let below = match (&seen.shape, segment) {
                (Shape::Any, _) => return Some((seen, secret)),
                (Shape::Map, Segment::Name(_)) => pattern.child(ANY_NAME),
                (Shape::Table(_) | Shape::Enum(_), Segment::Name(name)) => pattern.child(name),
                (Shape::List, Segment::Index(index)) => {
                    let own = pattern.element(*index);
                    if self.seen.contains_key(&own) { own } else { pattern.element(0) }
                }
                _ => return None,
            };
            pattern = below;
            seen = self.seen.get(&pattern)?;
            secret |= seen.secret;
        }
        Some((seen, secret))
    }
}

fn is_placeholder(segment: &Segment) -> bool {
    match segment {
        Segment::Name(name) => name == ANY_NAME,
        Segment::Index(_) => true,
    }
}

/// The form in which keys and parts of variable names meet: `header-timeout`, `headerTimeout` and `HEADER_TIMEOUT` are
/// one.
pub(super) fn normalized(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for character in name.chars() {
        if after_lower && character.is_ascii_uppercase() {
            text.push('_');
        }
        after_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
        text.push(if character == '-' { '_' } else { character.to_ascii_lowercase() });
    }
    text
}
