//! Two sets of protobuf descriptors: whether messages that are written by the one are read by the other, and whether
//! code that is generated anew still fits the code around it.
//!
//! On the wire there are numbers and types, no names: a field that is renamed breaks nobody who runs. What a number
//! means is kept for ever, so one that goes has to be reserved (protobuf.dev, "Updating A Message Type").

mod declared;
mod enumeration;
mod message;
mod service;

use std::collections::{BTreeMap, HashSet};

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};
use serde_json::Value;

use crate::{
    change::{Change, Comparison},
    document::Unreadable,
};

/// The most pairs of types that are compared: descriptors made to drown their reader have more.
const MOST_PAIRS: usize = 100_000;

/// What a `FileDescriptorSet` describes, by full names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Descriptors {
    services: BTreeMap<String, ServiceDescriptorProto>,
    messages: BTreeMap<String, DescriptorProto>,
    enums: BTreeMap<String, EnumDescriptorProto>,
}

/// The bytes are no `FileDescriptorSet`.
#[derive(Debug, thiserror::Error)]
#[error("not an encoded `google.protobuf.FileDescriptorSet`")]
pub struct Malformed(#[source] prost::DecodeError);

impl Descriptors {
    /// Reads an encoded `FileDescriptorSet`, as `protoc --descriptor_set_out` and tonic's code generator write it.
    ///
    /// # Errors
    /// [`Malformed`] where it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        FileDescriptorSet::decode(bytes).map(|set| Self::new(&set)).map_err(Malformed)
    }

    /// What `set` describes.
    #[must_use]
    pub fn new(set: &FileDescriptorSet) -> Self {
        let mut all = Self::default();
        set.file.iter().for_each(|file| all.file(file));
        all
    }

    fn file(&mut self, file: &FileDescriptorProto) {
        let package = file.package();
        for service in &file.service {
            self.services.insert(joined(package, service.name()), service.clone());
        }
        for one in &file.enum_type {
            self.enums.insert(joined(package, one.name()), one.clone());
        }
        // Nested ones by a list and not by recursion: how deep they go, their author chose.
        let mut left: Vec<_> =
            file.message_type.iter().map(|message| (package.to_owned(), message)).collect();
        while let Some((scope, message)) = left.pop() {
            let name = joined(&scope, message.name());
            for one in &message.enum_type {
                self.enums.insert(joined(&name, one.name()), one.clone());
            }
            left.extend(message.nested_type.iter().map(|nested| (name.clone(), nested)));
            self.messages.insert(name, message.clone());
        }
    }
}

/// Compares two descriptions of one service: `old`, which callers keep to, and `new`, which the service is about to be.
///
/// # Errors
/// When there is more to compare than the bounds allow.
pub fn compare(old: &Descriptors, new: &Descriptors) -> Result<Comparison, Unreadable> {
    let mut walk = Walk { old, new, found: Comparison::default(), left: Vec::new(), seen: HashSet::new() };
    walk.services();
    for (name, message) in &old.messages {
        if new.messages.contains_key(name) {
            walk.left.push((name, name));
        } else if !message::is_map_entry(message) {
            walk.source(name, &format!("/messages/{name}"), "the message is gone, or has another name");
        }
    }
    for name in old.enums.keys() {
        if new.enums.contains_key(name) {
            walk.enums(name, name)?;
        } else {
            walk.source(name, &format!("/enums/{name}"), "the enum is gone, or has another name");
        }
    }
    while let Some((old, new)) = walk.left.pop() {
        walk.messages(old, new)?;
    }
    let is_new = |name: &&String, message: &DescriptorProto| {
        !old.messages.contains_key(*name) && !message::is_map_entry(message)
    };
    for (name, _) in new.messages.iter().filter(|(name, message)| is_new(name, message)) {
        walk.compatible(name, &format!("/messages/{name}"), None, None, "there is a message more");
    }
    for name in new.enums.keys().filter(|name| !old.enums.contains_key(*name)) {
        walk.compatible(name, &format!("/enums/{name}"), None, None, "there is an enum more");
    }
    Ok(walk.found)
}

/// Goes through both, and notes what it finds.
struct Walk<'d> {
    old: &'d Descriptors,
    new: &'d Descriptors,
    found: Comparison,
    /// Pairs of messages still to be compared. A list and no recursion: how long a chain of them is, their author
    /// chose.
    left: Vec<(&'d str, &'d str)>,
    /// The pairs of types that were compared, or are being: recursive messages come up within themselves.
    seen: HashSet<(&'d str, &'d str)>,
}

impl<'d> Walk<'d> {
    /// Whether this pair comes up for the first time.
    fn is_new(&mut self, old: &'d str, new: &'d str) -> Result<bool, Unreadable> {
        if self.seen.len() >= MOST_PAIRS {
            return Err(Unreadable::TooLarge { what: "pairs of types", limit: MOST_PAIRS });
        }
        Ok(self.seen.insert((old, new)))
    }

    fn breaking(
        &mut self,
        place: &str,
        at: &str,
        old: Option<String>,
        new: Option<String>,
        why: impl Into<String>,
    ) {
        self.found.breaking.push(change(place, at, old, new, why));
    }

    /// The code of those who generate it anew has to change, and nothing on the wire.
    fn source(&mut self, place: &str, at: &str, why: impl Into<String>) {
        self.found.source.push(change(place, at, None, None, why));
    }

    fn compatible(
        &mut self,
        place: &str,
        at: &str,
        old: Option<String>,
        new: Option<String>,
        why: impl Into<String>,
    ) {
        self.found.compatible.push(change(place, at, old, new, why));
    }
}

fn change(place: &str, at: &str, old: Option<String>, new: Option<String>, why: impl Into<String>) -> Change {
    let [old, new] = [old, new].map(|declared| declared.map(Value::from));
    Change { place: place.to_owned(), pointer: at.to_owned(), old, new, why: why.into() }
}

fn joined(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// The name of a type as descriptors have it: with a leading dot where it is whole.
fn full_name(type_name: &str) -> &str {
    type_name.strip_prefix('.').unwrap_or(type_name)
}

#[cfg(test)]
mod tests;
