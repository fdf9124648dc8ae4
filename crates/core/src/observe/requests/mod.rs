//! Requests for those who look for trouble: what is under way and where it waits, what was slow, what failed.
//!
//! | file | owns |
//! |---|---|
//! | `flights` | what is under way, and how it is found from elsewhere |
//! | `place` | where a request is, and [`waits_for`] |
//! | `recent` | the slowest and the failed ones of a route |
//! | `report`, `text` | what of it is shown |

mod flights;
mod place;
mod recent;
mod report;
mod text;

pub(super) use flights::{Flights, Ticket};
pub(super) use place::Place;
pub use place::{Waiting, waits_for};
pub(super) use recent::{Noted, Recent, WINDOW};
pub use report::{Call, Finished, Report, Request};

#[cfg(test)]
mod tests;
