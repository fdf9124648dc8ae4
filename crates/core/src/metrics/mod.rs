//! What is counted and measured.
//!
//! A [`Registry`] holds families of instruments. Code that measures holds an instrument that is bound to its labels: to
//! record is then one atomic addition (three for a [`Histogram`]) in memory that few threads share, without a look-up.
//! Nothing here sends anything: `mainstay-telemetry` reads a [`Registry`] and writes what it finds for Prometheus and
//! OpenTelemetry.
//!
//! ```
//! use mainstay_core::metrics::{Definition, Registry};
//!
//! let registry = Registry::new();
//! let placed = Definition::new("shop.orders.placed", "{order}", "Orders that were placed");
//! let placed = registry.counter(placed, ["payment"])?;
//! let by_card = placed.with(["card"]);
//! by_card.add(1);
//! # Ok::<(), mainstay_core::metrics::Rejected>(())
//! ```
//!
//! **Names** are OpenTelemetry's: lower-case words with dots and underscores, units by UCUM (`s`, `By`, `{order}`).
//!
//! **Bounded by construction**: a family has at most [`Definition::limit`] series. What comes beyond is counted in one
//! series more, labelled `otel.metric.overflow="true"`, and told in the log, once.
//!
//! | module | holds |
//! |---|---|
//! | `definition` | name, unit, description, limit, bounds |
//! | `counter`, `gauge`, `histogram` | the instruments |
//! | `family` | the series of one name |
//! | `registry` | the families of a process |
//! | `snapshot` | what was read |

mod counter;
mod definition;
mod family;
mod gauge;
mod histogram;
mod registry;
pub(crate) mod shard;
mod snapshot;

pub use counter::Counter;
pub use definition::{Definition, Rejected, SECONDS};
pub use family::{Family, Instrument};
pub use gauge::{Gauge, UpDownCounter};
pub use histogram::{Exemplar, Histogram};
pub use registry::{Description, Observations, Registry};
pub use snapshot::{Buckets, Kind, Labels, Metric, Point, Series};

#[cfg(test)]
mod tests;
