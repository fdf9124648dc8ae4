//! What the measurements share: contestants as processes of their own, load from outside, CPU read from the kernel.
//!
//! A contestant is the same program started again with `--serve NAME`: it listens on a free port, prints it, and ends
//! when its standard input does. The contestants of a round run one after the other; what is reported is the median
//! over the rounds of each one's ratio to the reference of its round, so that a machine whose speed drifts does not
//! decide.

mod arguments;
mod contestant;
mod items;
mod load;
pub mod servers;
mod table;

pub use arguments::{Arguments, Wrong};
pub use contestant::{Contestant, announce, cpu_time, resident_kib, until_told};
pub use items::{ITEM, Item, Items, grpc};
pub use load::{Load, Sample, h2load, wrk};
pub use table::{Table, median};
