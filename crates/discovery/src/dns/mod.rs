//! Endpoints from the DNS: addresses (A, AAAA) or services (SRV, RFC 2782).
//!
//! ```toml
//! [discovery]
//! registry = "dns"
//!
//! [discovery.dns]
//! name = "{service}.internal"                # or "_http._tcp.{service}.internal" for SRV records
//! port = 8080
//! ```
//!
//! A name is asked for again when its records expire, in the background: what was known stays in use until the answer
//! is there. What the DNS knows not to exist (RFC 2308) has no endpoints; what could not be found out changes nothing.
//!
//! Needs the feature `dns`. When not to use it: where copies come and go by the second. Every cache on the way adds its time to live.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the settings |
//! | `resolver` | when to ask |
//! | `servers` | whom to ask |
//! | `exchange` | a question and its answer, over UDP and TCP |
//! | `answer` | what an answer says |
//! | `round` | all questions for one name, and what is remembered of them |

pub mod config;

#[cfg(feature = "dns")]
mod answer;
#[cfg(feature = "dns")]
mod exchange;
#[cfg(feature = "dns")]
mod resolver;
#[cfg(feature = "dns")]
mod round;
#[cfg(feature = "dns")]
mod servers;

pub use config::Config;
#[cfg(feature = "dns")]
pub use resolver::registry;
