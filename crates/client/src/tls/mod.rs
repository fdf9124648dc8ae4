//! TLS to endpoints whose place says so (`https://`, `h2://`): the table `client.tls`, and the handshake (feature `tls`).

mod config;
#[cfg(feature = "tls")]
mod connector;
#[cfg(feature = "tls")]
mod error;

pub use self::config::{Config, Overrides};
#[cfg(feature = "tls")]
pub(crate) use self::{connector::Connector, error::refused};
