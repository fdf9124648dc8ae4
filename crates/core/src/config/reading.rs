//! Gives every tree its part of the merged values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::collect::{Complaint, ComplaintKind};
use super::errors::{Errors, Finding, Problem};
use super::key::Key;
use super::known::{Known, nearest};
use super::loader::{Gathered, Loader};
use super::node::{Kind, Node};
use super::origin::Origin;
use super::schema::Shape;
use super::secret::REDACTED;
use super::section::Findings;
use super::tree::Value;

/// A configuration that was read without an error.
pub(super) struct Snapshot {
    pub(super) profile: String,
    pub(super) node: Node,
    pub(super) trees: BTreeMap<Key, ReadTree>,
    pub(super) files: Vec<PathBuf>,
}

pub(super) struct ReadTree {
    pub(super) value: Value,
    pub(super) shown: serde_json::Value,
}

pub(super) fn read(loader: &Loader, gathered: Gathered) -> Result<Snapshot, Errors> {
    let Gathered { profile, node, mut findings, files } = gathered;
    let known = loader.known();
    let reader = Reader { known: &known, node: &node };
    let (parts, left) = split(loader, &node);
    for stray in left {
        findings.push(reader.stray(&stray, loader));
    }
    let failed: BTreeSet<_> = findings
        .iter()
        .filter(|finding| finding.problem == Problem::Source)
        .map(|finding| finding.key.clone())
        .collect();
    let mut trees = BTreeMap::new();
    for (place, tree) in &loader.trees {
        let empty = Node::empty_table();
        let part = parts.get(place).unwrap_or(&empty);
        match (tree.read)(part) {
            Ok(mut reading) => {
                reading.refused.extend(refused_by_program(loader, place, &reading.value));
                // What a source failed to say may be just what is refused here.
                let refused = reading.refused.into_iter().filter(|_| failed.is_empty());
                findings.extend(
                    refused.map(|(key, expected)| reader.refused(place, &key, expected, &reading.shown)),
                );
                trees.insert(place.clone(), ReadTree { value: reading.value, shown: reading.shown });
            }
            Err(complaints) => {
                findings.extend(complaints.into_iter().map(|complaint| reader.finding(place, complaint)));
            }
        }
    }
    // A key is not missing where a source tried to set it, or could not be read at all.
    findings.retain(|finding| {
        let tried = |key: &Key| key.starts_with(&finding.key) || finding.key.starts_with(key);
        finding.problem != Problem::MissingKey || !failed.iter().any(tried)
    });
    match Errors::of(findings) {
        Some(errors) => Err(errors),
        None => Ok(Snapshot { profile, node, trees, files }),
    }
}

/// What the checks that the program added say of the tree at `place`.
fn refused_by_program(loader: &Loader, place: &Key, value: &Value) -> Vec<(Key, String)> {
    let mut findings = Findings::default();
    for (_, check) in loader.checks.iter().filter(|(of, _)| of == place) {
        check(value, &mut findings);
    }
    findings.refused
}

/// The values of each tree, and the keys that are in no tree.
fn split(loader: &Loader, node: &Node) -> (BTreeMap<Key, Node>, Vec<Key>) {
    let mut rest = node.clone();
    let mut places: Vec<_> = loader.places().cloned().collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.segments().len()));
    let mut parts = BTreeMap::new();
    let mut left = Vec::new();
    // The tables that only hold the places of trees, such as `app`.
    let mut namespaces: BTreeSet<Key> = BTreeSet::new();
    for place in &places {
        let mut at = place.parent();
        while let Some(key) = at {
            at = key.parent();
            if !places.contains(&key) {
                namespaces.insert(key);
            }
        }
    }
    for place in places.iter().filter(|place| !place.is_root()) {
        if let Some(part) = rest.remove(place) {
            parts.insert(place.clone(), part);
        }
    }
    for namespace in namespaces.iter().rev().filter(|namespace| !namespace.is_root()) {
        match rest.remove(namespace).map(|node| node.kind) {
            Some(Kind::Table(entries)) => left.extend(entries.keys().map(|name| namespace.child(name))),
            Some(_) => left.push(namespace.clone()),
            None => {}
        }
    }
    if places.contains(&Key::root()) {
        parts.insert(Key::root(), rest);
    } else if let Kind::Table(entries) = rest.kind {
        left.extend(entries.keys().map(|name| Key::root().child(name)));
    }
    (parts, left)
}

struct Reader<'a> {
    known: &'a Known<'a>,
    node: &'a Node,
}

impl Reader<'_> {
    fn finding(&self, place: &Key, complaint: Complaint) -> Finding {
        let Complaint { key, kind, expected, detail, known } = complaint;
        let key = place.join(&key);
        let (_, node) = self.node.nearest(&key);
        let table = key.parent().unwrap_or_default();
        let name = key.last_name().unwrap_or_default();
        match kind {
            ComplaintKind::UnknownKey => {
                let meant = self.known.nearest_key(&table, name, &known);
                let secret =
                    sounds_secret(&key) || meant.as_ref().is_some_and(|key| self.known.is_secret(key));
                Finding {
                    problem: Problem::UnknownKey,
                    origin: node.first_origin().cloned(),
                    value: shown(node, secret),
                    expected: if known.is_empty() { "no such key".to_owned() } else { expected },
                    suggestion: meant.map(|key| format!("`{key}`")),
                    key,
                }
            }
            ComplaintKind::Missing => Finding {
                problem: Problem::MissingKey,
                origin: self
                    .node
                    .get(&table)
                    .filter(|_| !table.is_root())
                    .and_then(Node::first_origin)
                    .cloned(),
                value: None,
                expected: self.known.expecting(&key).unwrap_or(expected),
                suggestion: None,
                key,
            },
            ComplaintKind::Invalid => {
                let open = self.known.shape(&key) == Some(&Shape::Any);
                let secret = self.known.is_secret(&key) || (open && sounds_secret(&key));
                let suggestion = self.text(&key).and_then(|text| {
                    nearest(text, known.iter().map(String::as_str)).map(|name| format!("`{name}`"))
                });
                Finding {
                    problem: Problem::InvalidValue,
                    origin: node.first_origin().cloned(),
                    value: shown(node, secret),
                    expected: self.expectation(&key, node, expected, detail, secret),
                    suggestion: suggestion.filter(|_| !secret),
                    key,
                }
            }
        }
    }

    /// A type's words may quote the value, so they are dropped where that could be a secret.
    fn expectation(
        &self,
        key: &Key,
        node: &Node,
        expected: String,
        detail: Option<String>,
        secret: bool,
    ) -> String {
        let quotes_secret = |text: &str| {
            let mut quotes = false;
            node.for_each_leaf(key, &mut |leaf_key, leaf| {
                let hidden = secret || self.known.is_secret(&leaf_key) || is_from_file(leaf);
                let value = match &leaf.kind {
                    Kind::Text(value) | Kind::Loose(value, _) => value.clone(),
                    _ => leaf.shown().unwrap_or_default(),
                };
                quotes |= hidden && !value.is_empty() && text.contains(&value);
            });
            quotes
        };
        let expected = if quotes_secret(&expected) {
            self.known.expecting(key).unwrap_or_else(|| "another value".to_owned())
        } else {
            expected
        };
        match detail.filter(|detail| !secret && !quotes_secret(detail)) {
            Some(detail) => format!("{expected} ({detail})"),
            None => expected,
        }
    }

    /// What a check refused: of the section, or of the program.
    fn refused(&self, place: &Key, key: &Key, expected: String, shown_tree: &serde_json::Value) -> Finding {
        let full = place.join(key);
        let secret = self.known.is_secret(&full);
        let value = match self.node.get(&full) {
            Some(node) => shown(node, secret),
            None => shown_default(key, shown_tree, secret),
        };
        let origin = self.written_at(&full).and_then(Node::first_origin).cloned();
        Finding {
            key: full,
            problem: Problem::InvalidValue,
            origin: Some(origin.unwrap_or(Origin::Default)),
            value,
            expected,
            suggestion: None,
        }
    }

    /// What was written at `key`; for an element of a list that was written as one text, which has no place of its own,
    /// the list.
    fn written_at(&self, key: &Key) -> Option<&Node> {
        let list = || key.parent().filter(|_| key.last_name().is_none());
        self.node.get(key).or_else(|| self.node.get(&list()?))
    }

    /// A key where there is only room for the places of trees.
    fn stray(&self, key: &Key, loader: &Loader) -> Finding {
        let (_, node) = self.node.nearest(key);
        let table = key.parent().unwrap_or_default();
        let mut known: Vec<_> = loader
            .places()
            .filter_map(|place| place.below(&table)?.segments().first().cloned())
            .filter_map(|segment| Key::from_segments(vec![segment]).last_name().map(str::to_owned))
            .collect();
        known.dedup();
        let unknown = super::de::Error::new(super::de::Problem::UnknownKey {
            name: String::new(),
            known: known.clone(),
        });
        let meant = self.known.nearest_key(&table, key.last_name().unwrap_or_default(), &known);
        Finding {
            key: key.clone(),
            problem: Problem::UnknownKey,
            origin: node.first_origin().cloned(),
            value: shown(node, sounds_secret(key)),
            expected: unknown.expected().0,
            suggestion: meant.map(|key| format!("`{key}`")),
        }
    }

    fn text(&self, key: &Key) -> Option<&str> {
        match &self.node.get(key)?.kind {
            Kind::Text(text) | Kind::Loose(text, _) => Some(text),
            _ => None,
        }
    }
}

fn shown(node: &Node, secret: bool) -> Option<String> {
    let text = node.shown()?;
    let hidden = secret || is_from_file(node);
    Some(if hidden { REDACTED.to_owned() } else { text })
}

/// A value that nobody wrote at `key`, as the tree has it.
fn shown_default(key: &Key, shown_tree: &serde_json::Value, secret: bool) -> Option<String> {
    let pointer: String = key.segments().iter().map(pointer_part).collect();
    Some(match shown_tree.pointer(&pointer)? {
        serde_json::Value::Null => return None,
        serde_json::Value::Array(_) => "a list".to_owned(),
        serde_json::Value::Object(_) => "a table".to_owned(),
        _ if secret => REDACTED.to_owned(),
        scalar => scalar.to_string(),
    })
}

/// What somebody went to the trouble of keeping in a file of its own is not for the screen.
pub(super) fn is_from_file(node: &Node) -> bool {
    matches!(node.origin, Origin::VariableFile { .. })
}

/// Whether a key of which no type tells may well hold a secret.
fn sounds_secret(key: &Key) -> bool {
    const WORDS: [&str; 9] =
        ["pass", "secret", "token", "key", "credential", "private", "auth", "dsn", "cookie"];
    let key = key.to_string().to_ascii_lowercase();
    WORDS.iter().any(|word| key.contains(word))
}

pub(super) fn pointer_part(segment: &super::key::Segment) -> String {
    match segment {
        super::key::Segment::Name(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
        super::key::Segment::Index(index) => format!("/{index}"),
    }
}
