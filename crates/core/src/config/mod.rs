//! The configuration: read in layers, checked whole, every value with its origin.
//!
//! A [`Loader`] gathers the sources, weakest first: the built-in defaults of the types, `mainstay.toml`,
//! `mainstay.{profile}.toml`, sources that the program adds (any [`figment::Provider`], and with the feature
//! `config-rs` a `config::Config`), environment variables that others have named ([`Loader::translate`]), the
//! framework's own (`MAINSTAY_SERVER__ADDRESS`, or `..._FILE` for a value kept in a file), and the command line
//! (`--set server.address=...`).
//! Typed trees ([`Section`]) read the outcome: the framework's settings at the root, those of each service under
//! `app.NAME`. All errors of all sources and trees are reported together ([`Errors`]).
//!
//! ```
//! use mainstay_core::config::{Duration, Loader, Section};
//!
//! #[derive(serde::Deserialize, serde::Serialize)]
//! #[serde(deny_unknown_fields)]
//! struct Orders {
//!     reserve: Duration,
//! }
//!
//! impl Section for Orders {}
//!
//! let loaded = Loader::new()
//!     .environment([("MAINSTAY_APP__ORDERS__RESERVE", "1m30s")])
//!     .tree::<Orders>("app.orders")
//!     .load()?;
//! assert_eq!(loaded.get::<Orders>("app.orders").reserve, Duration::from_secs(90));
//!
//! let errors = Loader::new()
//!     .environment([("MAINSTAY_APP__ORDERS__RESERVE", "90")])
//!     .tree::<Orders>("app.orders")
//!     .load()
//!     .unwrap_err();
//! assert_eq!(errors.findings()[0].key.to_string(), "app.orders.reserve");
//! # Ok::<(), mainstay_core::config::Errors>(())
//! ```
//!
//! Way of a value: `document` (TOML with lines) and `environment` → `layers` (merge, on figment) → `node` (values with
//! origins) → `reading` (a part for each tree) → `collect` (every error of a type) over `de`; `schema` knows which keys
//! there are.

/// The guide's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/configuration.md")]
mod guide {}

mod collect;
mod command_line;
#[cfg(feature = "config-rs")]
mod config_rs;
mod de;
mod document;
mod duration;
mod environment;
mod errors;
mod key;
mod known;
mod layers;
mod loaded;
mod loader;
mod node;
mod origin;
mod reading;
mod reloader;
mod schema;
mod secret;
mod section;
mod size;
mod translation;
mod tree;
mod view;
mod watched;

pub use figment;

pub use self::command_line::{CommandLine, UsageError};
#[cfg(feature = "config-rs")]
pub use self::config_rs::ConfigRs;
pub use self::duration::{Duration, InvalidDuration};
pub use self::errors::{EXIT_CONFIG, Errors, Finding, Problem};
pub use self::key::{InvalidKey, Key};
pub use self::loaded::Loaded;
pub use self::loader::Loader;
pub use self::origin::Origin;
pub use self::reloader::{Reload, Reloader, Trigger};
pub use self::secret::Secret;
pub use self::section::{Findings, Keys, Section};
pub use self::size::{ByteSize, InvalidByteSize};
pub use self::translation::{Translated, Variables};
pub use self::tree::Tree;
pub use self::view::{Entry, View};
pub use self::watched::{Current, Watched};
