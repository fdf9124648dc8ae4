//! As a client of who issues tokens: how it proves itself, and where it asks.

mod assertion;
mod endpoint;
mod pause;
mod registration;

pub use self::registration::Registration;
pub(crate) use self::{
    endpoint::{Endpoint, Failed},
    pause::{Pause, backoff},
};
