//! Finds everything that a type has against the values, although serde stops at the first error.
//!
//! Each error is recorded and what caused it taken out, then the type is asked again. Where the type can't do without
//! the value a stand-in takes its place. What the type then says about tables that were changed so is no news about
//! the configuration and is not recorded.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use super::de::{CANDIDATES, Error, NodeDeserializer, Problem};
use super::key::Key;
use super::node::{Kind, Node};
use super::origin::Origin;

/// One error of one value.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) key: Key,
    pub(super) kind: ComplaintKind,
    pub(super) expected: String,
    /// What else the type said; it may quote the value.
    pub(super) detail: Option<String>,
    /// The names that the type knows in place of the one it was given.
    pub(super) known: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ComplaintKind {
    UnknownKey,
    Invalid,
    Missing,
}

/// The value, or everything that is wrong with it.
pub(super) fn collect<T: DeserializeOwned>(root: &Node) -> Result<T, Vec<Complaint>> {
    let mut collector = Collector::new(root);
    loop {
        match T::deserialize(NodeDeserializer::new(&collector.node)) {
            Ok(value) if collector.complaints.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => {
                if !collector.take(&error) {
                    collector.complain_at_least(&error);
                    break;
                }
            }
        }
    }
    Err(collector.complaints)
}

struct Collector {
    node: Node,
    complaints: Vec<Complaint>,
    /// What was taken out or stands in for something: errors here and around it are our own doing.
    touched: BTreeSet<Key>,
    /// What no stand-in can replace.
    hopeless: BTreeSet<Key>,
    tried: BTreeMap<Key, usize>,
    /// The first errors of values that were tried again as text.
    first: BTreeMap<Key, (String, Option<String>)>,
    /// Errors left until we stop asking. Each step already uses something up; this only bounds a type that answers
    /// differently each time it is asked.
    steps: usize,
}

impl Collector {
    fn new(root: &Node) -> Self {
        let mut leaves: usize = 0;
        root.for_each_leaf(&Key::root(), &mut |_, _| leaves += 1);
        Self {
            node: root.clone(),
            complaints: Vec::new(),
            touched: BTreeSet::new(),
            hopeless: BTreeSet::new(),
            tried: BTreeMap::new(),
            first: BTreeMap::new(),
            steps: 10_000 + leaves.saturating_mul(8),
        }
    }

    /// Deals with an error; false when nothing more can be learned.
    fn take(&mut self, error: &Error) -> bool {
        match self.steps.checked_sub(1) {
            Some(left) => self.steps = left,
            None => return false,
        }
        let at = error.key();
        match &error.problem {
            Problem::UnknownKey { name, known } => match self.locate(&at, name) {
                Some(key) if !self.is_touched(&key) => {
                    self.complain(key.clone(), ComplaintKind::UnknownKey, error.expected(), known.clone());
                    self.node.remove(&key).is_some()
                }
                _ => self.wrong(&at, error),
            },
            Problem::Missing { name } => self.missing(&at, name, error),
            Problem::Duplicate { name } if self.node.get(&at.child(name)).is_some() => {
                let key = at.child(name);
                self.complain(key.clone(), ComplaintKind::Invalid, error.expected(), Vec::new());
                self.node.remove(&key).is_some()
            }
            _ => self.wrong(&at, error),
        }
    }

    fn missing(&mut self, at: &Key, name: &str, error: &Error) -> bool {
        let key = at.child(name);
        let stands_in = matches!(self.node.get(&key).map(|node| &node.kind), Some(Kind::StandIn(_)));
        if self.hopeless.contains(&key) || stands_in {
            return self.rebuild(at);
        }
        let is_ours = self.touched.iter().any(|touched| key.starts_with(touched));
        if !is_ours {
            self.complain(key.clone(), ComplaintKind::Missing, error.expected(), Vec::new());
        }
        self.stand_in(key, 0)
    }

    fn wrong(&mut self, at: &Key, error: &Error) -> bool {
        let (key, node) = self.node.nearest(at);
        if matches!(node.kind, Kind::StandIn(_)) {
            return self.next_stand_in(key);
        }
        let found = match &error.problem {
            Problem::Wrong { found, .. } => found.as_deref(),
            _ => None,
        };
        let key = found.and_then(|found| only_leaf(&key, node, found)).unwrap_or(key);
        if self.is_touched(&key) {
            return self.rebuild(&key);
        }
        if self.node.get_mut(&key).is_some_and(Node::stop_guessing) {
            self.first.entry(key).or_insert_with(|| error.expected());
            return true;
        }
        let expected = self.first.remove(&key).unwrap_or_else(|| error.expected());
        let known = match &error.problem {
            Problem::UnknownVariant { known } => known.clone(),
            _ => Vec::new(),
        };
        // An element of a list that was written as one text has a key but no node.
        let told = if at.starts_with(&key) { at.clone() } else { key.clone() };
        self.complain(told, ComplaintKind::Invalid, expected, known);
        self.touched.insert(key.clone());
        self.node.remove(&key).is_some()
    }

    /// A table that we changed does not please its type: replace the whole of it.
    fn rebuild(&mut self, key: &Key) -> bool {
        if key.is_root() {
            return false;
        }
        if self.touched.insert(key.clone()) {
            return self.node.remove(key).is_some();
        }
        self.next_stand_in(key.clone())
    }

    fn next_stand_in(&mut self, key: Key) -> bool {
        let tried = self.tried.entry(key.clone()).or_default();
        *tried += 1;
        if *tried < CANDIDATES {
            let candidate = *tried;
            return self.stand_in(key, candidate);
        }
        self.touched.insert(key.clone());
        self.node.remove(&key).is_some() & self.hopeless.insert(key)
    }

    fn stand_in(&mut self, key: Key, candidate: usize) -> bool {
        let node = Node { origin: Origin::Default, kind: Kind::StandIn(candidate) };
        let inserted = self.node.insert(&key, node);
        self.touched.insert(key);
        inserted
    }

    fn is_touched(&self, key: &Key) -> bool {
        self.touched.iter().any(|touched| touched.starts_with(key) || key.starts_with(touched))
    }

    /// The table entry that the type refused by name. Where serde lost the way to it, the only one of that name.
    fn locate(&self, at: &Key, name: &str) -> Option<Key> {
        let direct = at.child(name);
        if self.node.get(&direct).is_some() {
            return Some(direct);
        }
        let mut found = Vec::new();
        find_entries(self.node.get(at)?, at, name, &mut found);
        if found.len() == 1 { found.pop() } else { None }
    }

    fn complain(
        &mut self,
        key: Key,
        kind: ComplaintKind,
        (expected, detail): (String, Option<String>),
        known: Vec<String>,
    ) {
        self.complaints.push(Complaint { key, kind, expected, detail, known });
    }

    fn complain_at_least(&mut self, error: &Error) {
        if self.complaints.is_empty() {
            self.complain(error.key(), ComplaintKind::Invalid, error.expected(), Vec::new());
        }
    }
}

/// The only leaf below `at` with the value `found`.
fn only_leaf(at: &Key, node: &Node, found: &str) -> Option<Key> {
    let mut matching = Vec::new();
    node.for_each_leaf(at, &mut |key, leaf| {
        let same = match &leaf.kind {
            Kind::Text(text) | Kind::Loose(text, _) => text == found,
            _ => leaf.shown().as_deref() == Some(found),
        };
        if same {
            matching.push(key);
        }
    });
    if matching.len() == 1 { matching.pop() } else { None }
}

fn find_entries(node: &Node, at: &Key, name: &str, found: &mut Vec<Key>) {
    match &node.kind {
        Kind::Table(entries) => {
            for (entry, below) in entries {
                let key = at.child(entry);
                if entry == name {
                    found.push(key.clone());
                }
                find_entries(below, &key, name, found);
            }
        }
        Kind::List(elements) => {
            for (index, below) in elements {
                find_entries(below, &at.element(*index), name, found);
            }
        }
        _ => {}
    }
}
