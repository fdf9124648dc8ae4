//! A typed tree with its type forgotten, so that trees of many types load together.

use std::any::{Any, type_name};
use std::fmt;
use std::sync::Arc;

use super::collect::{Complaint, ComplaintKind, collect};
use super::key::Key;
use super::node::Node;
use super::schema::Schema;
use super::section::{Findings, Keys, Section};
use super::watched::{Cell, ErasedCell};

/// The description of a typed tree; what a service keeps until its host loads the configuration.
#[derive(Clone)]
pub struct Tree {
    type_name: &'static str,
    pub(super) schema: Arc<Schema>,
    pub(super) reloadable: Vec<Key>,
    pub(super) read: fn(&Node) -> Result<Reading, Vec<Complaint>>,
    pub(super) cell: fn(&Value) -> Option<Arc<dyn ErasedCell>>,
}

/// The value of a tree.
pub(super) type Value = Arc<dyn Any + Send + Sync>;

/// A tree that could be read.
pub(super) struct Reading {
    pub(super) value: Value,
    /// What the type shows of itself: defaults included, secrets redacted.
    pub(super) shown: serde_json::Value,
    /// What [`Section::check`] refused.
    pub(super) refused: Vec<(Key, String)>,
}

impl Tree {
    /// The tree that `T` describes.
    #[must_use]
    pub fn of<T: Section>() -> Self {
        let mut keys = Keys::default();
        T::reloadable(&mut keys);
        Self {
            type_name: type_name::<T>(),
            schema: Arc::new(Schema::of::<T>()),
            reloadable: keys.keys,
            read: read::<T>,
            cell: |value| Some(Arc::new(Cell::new(Arc::clone(value).downcast::<T>().ok()?))),
        }
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tree").field(&self.type_name).finish()
    }
}

fn read<T: Section>(node: &Node) -> Result<Reading, Vec<Complaint>> {
    let value: T = collect(node)?;
    let shown = serde_json::to_value(&value).map_err(|error| {
        vec![Complaint {
            key: Key::root(),
            kind: ComplaintKind::Invalid,
            expected: format!("values that can be shown; {} cannot: {error}", type_name::<T>()),
            detail: None,
            known: Vec::new(),
        }]
    })?;
    let mut findings = Findings::default();
    value.check(&mut findings);
    Ok(Reading { value: Arc::new(value), shown, refused: findings.refused })
}
