//! Start, drain, stop.

mod drain;

pub use drain::{Drain, Drainer, Phase};
