//! What differs between two documents and breaks nobody.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    change::Change,
    document::{Document, Unreadable, joined},
    schema::is_annotation,
};

/// The most differences that are listed.
const MOST: usize = 10_000;

/// Members whose own members are named by the author of the description, so that a property may be called `title`.
const NAMED_BY_AUTHOR: [&str; 18] = [
    "callbacks",
    "content",
    "dependentRequired",
    "dependentSchemas",
    "encoding",
    "headers",
    "links",
    "mapping",
    "parameters",
    "pathItems",
    "paths",
    "patternProperties",
    "properties",
    "requestBodies",
    "responses",
    "schemas",
    "securitySchemes",
    "webhooks",
];

/// The differences in what the documents say, texts for people left out, that none of `breaking` tells already.
pub(crate) fn between(
    old: &Document,
    new: &Document,
    breaking: &[Change],
) -> Result<Vec<Change>, Unreadable> {
    let mut found = Found(Vec::new());
    found.values("", Some(old.as_value()), Some(new.as_value()), false);
    if found.0.len() >= MOST {
        return Err(Unreadable::TooLarge { what: "differences", limit: MOST });
    }
    let told: BTreeSet<&str> = breaking.iter().map(|change| change.pointer.as_str()).collect();
    let is_within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    found.0.retain(|change| {
        !told.iter().any(|told| is_within(told, &change.pointer) || is_within(&change.pointer, told))
    });
    Ok(found.0)
}

struct Found(Vec<Change>);

impl Found {
    /// `names`: whether the members of an object here are named by the author.
    fn values(&mut self, pointer: &str, old: Option<&Value>, new: Option<&Value>, names: bool) {
        if old == new || self.0.len() >= MOST {
            return;
        }
        match (old, new) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                for key in keys {
                    let is_text = !names && (is_annotation(key) || (pointer.is_empty() && key == "info"));
                    if !is_text {
                        let names = !names && NAMED_BY_AUTHOR.contains(&key.as_str());
                        self.values(&joined(pointer, key), old.get(key), new.get(key), names);
                    }
                }
            }
            (Some(Value::Array(old)), Some(Value::Array(new))) => self.lists(pointer, old, new),
            (old, new) => self.push(pointer, old, new),
        }
    }

    /// Lists of names and of parameters are in no order; of other lists the order counts.
    fn lists(&mut self, pointer: &str, old: &[Value], new: &[Value]) {
        let name = |value: &Value| match value {
            Value::Object(members) => match (members.get("in"), members.get("name"), members.get("$ref")) {
                (Some(place), Some(name), _) => Some(format!("{place} {name}")),
                (_, _, Some(reference)) => Some(reference.to_string()),
                _ => None,
            },
            Value::Array(_) => None,
            plain => Some(plain.to_string()),
        };
        if old.iter().chain(new).all(|value| name(value).is_some()) {
            for (index, value) in old.iter().enumerate() {
                match new.iter().find(|other| name(other) == name(value)) {
                    None => self.push(&joined(pointer, &index.to_string()), Some(value), None),
                    Some(other) => {
                        self.values(&joined(pointer, &index.to_string()), Some(value), Some(other), false)
                    }
                }
            }
            for (index, value) in new.iter().enumerate() {
                if !old.iter().any(|other| name(other) == name(value)) {
                    self.push(&joined(pointer, &index.to_string()), None, Some(value));
                }
            }
            return;
        }
        for index in 0..old.len().max(new.len()) {
            self.values(&joined(pointer, &index.to_string()), old.get(index), new.get(index), false);
        }
    }

    fn push(&mut self, pointer: &str, old: Option<&Value>, new: Option<&Value>) {
        let why = match (old, new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        self.0.push(Change {
            place: String::new(),
            pointer: pointer.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
            why: why.to_owned(),
        });
    }
}
