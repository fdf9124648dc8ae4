//! One request, on its way through: what is taken off, what is put on.

pub(crate) mod answer;
pub(crate) mod edge;
pub(crate) mod fields;
pub(crate) mod identity;
pub(crate) mod via;
