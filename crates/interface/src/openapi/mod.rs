//! Two descriptions, operation by operation.

mod answer;
mod body;
mod operation;
mod parameter;
mod security;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use answer::{answers as members_by_status, describes};
pub(crate) use body::{covers as in_range, essence};

use crate::{
    change::{Change, Comparison},
    difference,
    document::{Document, METHODS, Node, Unreadable},
    schema::{Break, Direction, Fitting},
};

/// The most that is found before it is not looked further: a document made to drown its reader has more.
const MOST_BREAKS: usize = 10_000;

/// Compares two descriptions of one service: `old`, which callers keep to, and `new`, which the service is about to be.
///
/// # Errors
/// When one of them can't be read as OpenAPI, or is beyond the bounds.
pub fn compare(old: &Document, new: &Document) -> Result<Comparison, Unreadable> {
    let mut found = Found::default();
    let new_paths = paths(new)?;
    for (template, old_path) in paths(old)? {
        match new_paths.get(&template) {
            None => {
                found.breaks("", Some(&old_path.item), None, &format!("the path `{}` is gone", old_path.name))
            }
            Some(new_path) => compare_path(&old_path, new_path, &mut found)?,
        }
    }
    let (old_hooks, new_hooks) = (old.root().get("webhooks"), new.root().get("webhooks"));
    if old_hooks.as_ref().map(|node| node.value) != new_hooks.as_ref().map(|node| node.value) {
        found.breaks("", old_hooks.as_ref(), new_hooks.as_ref(), "webhooks differ, and are not compared");
    }
    let compatible = difference::between(old, new, &found.changes)?;
    Ok(Comparison { breaking: found.changes, source: Vec::new(), compatible })
}

/// A path of a description.
struct Path<'d> {
    /// As it is written there.
    name: &'d str,
    item: Node<'d>,
}

impl Path<'_> {
    /// The names of its parameters, in order.
    fn parameters(&self) -> Vec<&str> {
        self.name.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)).collect()
    }
}

/// The paths, by what they look like when the names of their parameters don't count.
fn paths(document: &Document) -> Result<BTreeMap<String, Path<'_>>, Unreadable> {
    let mut paths = BTreeMap::new();
    for (name, item) in document.root().members("paths")? {
        if name.starts_with('/') {
            paths.insert(template(name), Path { name, item: item.resolved()? });
        }
    }
    Ok(paths)
}

/// A path as it is when the names of its parameters don't count: `/orders/{id}/items` is `/orders/{}/items`.
#[must_use]
pub fn template(path: &str) -> String {
    let mut template = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        template.push_str(before);
        template.push_str("{}");
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    template + rest
}

fn compare_path(old: &Path<'_>, new: &Path<'_>, found: &mut Found) -> Result<(), Unreadable> {
    for method in METHODS {
        let Some(old_operation) = old.item.get(method) else { continue };
        let place = format!("{} {}", method.to_uppercase(), old.name);
        match new.item.get(method) {
            None => found.breaks(&place, Some(&old_operation), None, "the operation is gone"),
            Some(new_operation) => {
                let both = operation::Both { old, new, old_operation, new_operation, place };
                both.compare(found)?;
            }
        }
    }
    Ok(())
}

/// The breaking changes found so far, and the steps that it took.
#[derive(Default)]
struct Found {
    changes: Vec<Change>,
    steps: usize,
}

impl Found {
    fn breaks(&mut self, place: &str, old: Option<&Node<'_>>, new: Option<&Node<'_>>, why: &str) {
        let pointer = new.or(old).map_or_else(String::new, |node| node.pointer.clone());
        let change = Change {
            place: place.to_owned(),
            pointer,
            old: old.map(|node| node.value.clone()),
            new: new.map(|node| node.value.clone()),
            why: why.to_owned(),
        };
        if self.changes.len() < MOST_BREAKS {
            self.changes.push(change);
        }
    }

    /// Compares two schemas in the direction in which they are used. A side without a schema says nothing of the value.
    fn schemas(
        &mut self,
        place: &str,
        direction: Direction,
        old: Option<&Node<'_>>,
        new: Option<&Node<'_>>,
    ) -> Result<(), Unreadable> {
        let (writer, reader) = match direction {
            Direction::Request => (old, new),
            Direction::Answer => (new, old),
        };
        let Some(reader) = reader else { return Ok(()) };
        let writer: Vec<Node<'_>> = writer.into_iter().cloned().collect();
        let mut fitting = Fitting::new(direction, self.steps);
        let mut breaks = fitting.fit(&writer, reader, "")?;
        self.steps = fitting.steps;
        breaks.sort_by_key(|found| found.field.len());
        let mut told = BTreeSet::new();
        for Break { field, writer, reader, why } in breaks {
            // Recursive schemas come to the same place twice.
            let pointer = |node: &Option<Node<'_>>| node.as_ref().map(|node| node.pointer.clone());
            if !told.insert((pointer(&writer), pointer(&reader), why.clone())) {
                continue;
            }
            let place = if field.is_empty() { place.to_owned() } else { format!("{place}, `{field}`") };
            let (old, new) = match direction {
                Direction::Request => (writer, reader),
                Direction::Answer => (reader, writer),
            };
            self.breaks(&place, old.as_ref(), new.as_ref(), &why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
