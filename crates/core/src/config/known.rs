//! Every key that some tree knows.

use super::de::in_words;
use super::environment::{PREFIX, variable_of};
use super::key::{Key, Segment};
use super::node::{Kind, Node};
use super::schema::{Schema, Shape, normalized};

/// The schemas of all trees, each at its place; a tree inside the place of another comes before it.
pub(super) struct Known<'a> {
    trees: Vec<(&'a Key, &'a Schema)>,
}

impl<'a> Known<'a> {
    pub(super) fn new(trees: impl Iterator<Item = (&'a Key, &'a Schema)>) -> Self {
        let mut trees: Vec<_> = trees.collect();
        trees.sort_by_key(|(place, _)| std::cmp::Reverse(place.segments().len()));
        Self { trees }
    }

    /// The schema that speaks for `key`, and the key in it.
    fn at(&self, key: &Key) -> Option<(&'a Schema, Key)> {
        self.trees.iter().find_map(|(place, schema)| Some((*schema, key.below(place)?)))
    }

    pub(super) fn is_secret(&self, key: &Key) -> bool {
        self.at(key).is_some_and(|(schema, key)| schema.is_secret(&key))
    }

    /// What the type of `key` expects, in words.
    pub(super) fn expecting(&self, key: &Key) -> Option<String> {
        let (schema, key) = self.at(key)?;
        schema.expecting(&key).map(in_words)
    }

    pub(super) fn shape(&self, key: &Key) -> Option<&'a Shape> {
        let (schema, key) = self.at(key)?;
        schema.shape(&key)
    }

    /// The key that the parts of a variable's name mean.
    pub(super) fn resolve(&self, parts: &[&str], below: &Node) -> Option<Key> {
        self.trees.iter().find_map(|(place, schema)| {
            let depth = place.segments().len();
            let (own, rest) = parts.split_at_checked(depth)?;
            let here = place.segments().iter().zip(own).all(|(segment, part)| match segment {
                Segment::Name(name) => normalized(name) == normalized(part),
                Segment::Index(_) => false,
            });
            let existing = |key: &Key| match below.get(&place.join(key)).map(|node| &node.kind) {
                Some(Kind::Table(entries)) => entries.keys().cloned().collect(),
                _ => Vec::new(),
            };
            let key = if here { schema.resolve(rest, &existing) } else { None };
            key.filter(|key| !(key.is_root() && place.is_root())).map(|key| place.join(&key))
        })
    }

    /// Every key that holds a value.
    pub(super) fn leaves(&self) -> impl Iterator<Item = Key> {
        self.trees.iter().flat_map(|(place, schema)| schema.leaves().map(|key| place.join(key)))
    }

    /// The known variable closest to `name`.
    pub(super) fn nearest_variable(&self, name: &str) -> Option<String> {
        let names: Vec<_> = self.leaves().map(|key| variable_of(&key)).collect();
        // The usual slip is one underscore for two.
        let squeezed = |name: &str| name.replace("__", "_");
        if let Some(same) = names.iter().find(|known| squeezed(known) == squeezed(name)) {
            return Some(same.clone());
        }
        // The prefix they all share must not make them alike.
        let bare = |name: &'_ str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
        let bare_names: Vec<_> = names.iter().map(|name| bare(name)).collect();
        let near = nearest(&bare(name), bare_names.iter().map(String::as_str))?;
        Some(format!("{PREFIX}{near}"))
    }

    /// The key that was probably meant by `name` in `table`: one that the table knows, or one of that name elsewhere.
    pub(super) fn nearest_key(&self, table: &Key, name: &str, known: &[String]) -> Option<Key> {
        if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
            return Some(table.child(near));
        }
        let mut same = self
            .leaves()
            .filter(|key| key.last_name().is_some_and(|last| normalized(last) == normalized(name)));
        match (same.next(), same.next()) {
            (Some(key), None) => Some(key),
            _ => None,
        }
    }
}

/// The candidate that `name` is most likely a slip of.
pub(super) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let name = normalized(name);
    let limit = (name.chars().count() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&name, &normalized(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
