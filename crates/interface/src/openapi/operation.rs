//! One operation in both descriptions.

use super::{Found, Path, answer, body, parameter, security};
use crate::document::{Node, Unreadable};

/// An operation that both descriptions have.
pub(super) struct Both<'p, 'd> {
    pub(super) old: &'p Path<'d>,
    pub(super) new: &'p Path<'d>,
    pub(super) old_operation: Node<'d>,
    pub(super) new_operation: Node<'d>,
    /// `PUT /payments/{id}`
    pub(super) place: String,
}

impl Both<'_, '_> {
    pub(super) fn compare(&self, found: &mut Found) -> Result<(), Unreadable> {
        parameter::compare(self, found)?;
        body::compare_requests(self, found)?;
        answer::compare(self, found)?;
        security::compare(self, found)?;
        let callbacks = |node: &Node<'_>| node.value.get("callbacks").cloned();
        if callbacks(&self.old_operation) != callbacks(&self.new_operation) {
            let (old, new) = (self.old_operation.get("callbacks"), self.new_operation.get("callbacks"));
            found.breaks(&self.place, old.as_ref(), new.as_ref(), "callbacks differ, and are not compared");
        }
        Ok(())
    }
}
