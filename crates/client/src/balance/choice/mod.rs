//! The policies, each over the numbers of endpoints below a count.

pub(crate) mod draw;
pub(crate) mod maglev;
pub(crate) mod robin;
