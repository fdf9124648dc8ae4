//! The merged configuration before it has types: values, each with its origin.

use std::collections::BTreeMap;

use super::key::{Key, Segment};
use super::origin::Origin;

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    /// Text of a source that has no types (environment, command line): read as the type that is asked for.
    /// Where any type will do the flag decides: guess a number or a truth value, or leave it text.
    Loose(String, bool),
    /// Elements keep the index they were written at, also when one before them was taken out.
    List(Vec<(usize, Node)>),
    Table(BTreeMap<String, Node>),
    /// Stands where a required value is missing or wrong, so that the errors after it are found too.
    /// The number says which stand-in is tried.
    StandIn(usize),
}

/// Two nodes are equal when their values are, wherever they came from.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Node {
    pub(super) fn empty_table() -> Self {
        Self { origin: Origin::Default, kind: Kind::Table(BTreeMap::new()) }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Node> {
        key.segments().iter().try_fold(self, Node::step)
    }

    /// The deepest node on the way to `key`, and its key.
    pub(super) fn nearest(&self, key: &Key) -> (Key, &Node) {
        let mut node = self;
        let mut depth = 0;
        for segment in key.segments() {
            match node.step(segment) {
                Some(below) => node = below,
                None => break,
            }
            depth += 1;
        }
        (Key::from_segments(key.segments().iter().take(depth).cloned().collect()), node)
    }

    fn step(&self, segment: &Segment) -> Option<&Node> {
        match (&self.kind, segment) {
            (Kind::Table(entries), Segment::Name(name)) => entries.get(name),
            (Kind::List(elements), Segment::Index(index)) => {
                elements.iter().find(|(at, _)| at == index).map(|(_, node)| node)
            }
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Node> {
        key.segments().iter().try_fold(self, |node, segment| match (&mut node.kind, segment) {
            (Kind::Table(entries), Segment::Name(name)) => entries.get_mut(name),
            (Kind::List(elements), Segment::Index(index)) => {
                elements.iter_mut().find(|(at, _)| at == index).map(|(_, node)| node)
            }
            _ => None,
        })
    }

    /// Takes the value at `key` out; `None` where there is none, or for the root.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Node> {
        let (last, _) = key.segments().split_last()?;
        match (&mut self.get_mut(&key.parent()?)?.kind, last) {
            (Kind::Table(entries), Segment::Name(name)) => entries.remove(name),
            (Kind::List(elements), Segment::Index(index)) => {
                let position = elements.iter().position(|(at, _)| at == index)?;
                Some(elements.remove(position).1)
            }
            _ => None,
        }
    }

    /// Puts `value` at `key`, making the tables on the way. False where something other than a table is in the way.
    pub(super) fn insert(&mut self, key: &Key, value: Node) -> bool {
        let mut node = self;
        for segment in key.segments() {
            if matches!(node.kind, Kind::StandIn(_)) {
                node.kind = Kind::Table(BTreeMap::new());
            }
            node = match (&mut node.kind, segment) {
                (Kind::Table(entries), Segment::Name(name)) => {
                    entries.entry(name.clone()).or_insert_with(Node::empty_table)
                }
                (Kind::List(elements), Segment::Index(index)) => {
                    match elements.iter_mut().find(|(at, _)| at == index) {
                        Some((_, element)) => element,
                        None => return false,
                    }
                }
                _ => return false,
            };
        }
        *node = value;
        true
    }

    /// Calls `visit` for every value that is neither list nor table, with its key.
    pub(super) fn for_each_leaf<'a>(&'a self, at: &Key, visit: &mut impl FnMut(Key, &'a Node)) {
        match &self.kind {
            Kind::Table(entries) => {
                for (name, node) in entries {
                    node.for_each_leaf(&at.child(name), visit);
                }
            }
            Kind::List(elements) => {
                for (index, node) in elements {
                    node.for_each_leaf(&at.element(*index), visit);
                }
            }
            _ => visit(at.clone(), self),
        }
    }

    /// Makes every loose text in this value stay text where any type will do. True where that changes something.
    pub(super) fn stop_guessing(&mut self) -> bool {
        match &mut self.kind {
            Kind::Loose(_, guess) => std::mem::replace(guess, false),
            Kind::Table(entries) => entries.values_mut().fold(false, |any, node| node.stop_guessing() | any),
            Kind::List(elements) => {
                elements.iter_mut().fold(false, |any, (_, node)| node.stop_guessing() | any)
            }
            _ => false,
        }
    }

    /// The first origin in this value that is not the default.
    pub(super) fn first_origin(&self) -> Option<&Origin> {
        if self.origin != Origin::Default {
            return Some(&self.origin);
        }
        match &self.kind {
            Kind::Table(entries) => entries.values().find_map(Node::first_origin),
            Kind::List(elements) => elements.iter().find_map(|(_, node)| node.first_origin()),
            _ => None,
        }
    }

    /// The value as a person would write it; a list or table by its name only, since it may hold secrets.
    pub(super) fn shown(&self) -> Option<String> {
        Some(match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Bool(value) => value.to_string(),
            Kind::Integer(value) => value.to_string(),
            Kind::Float(value) => value.to_string(),
            Kind::Text(text) | Kind::Loose(text, _) => format!("{:?}", shortened(text)),
            Kind::List(_) => "a list".to_owned(),
            Kind::Table(_) => "a table".to_owned(),
            Kind::StandIn(_) => return None,
        })
    }
}

/// At most 200 characters: a certificate put where a port belongs must not fill the screen.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
