//! Objectives of services, and what Prometheus, Alertmanager and Grafana are told to watch them.
//!
//! A [`Slo`] says how many of a service's requests have to go well: to the whole service, to a route, or to a method of
//! gRPC. [`Export`] makes files of all that a process has. Nothing here reads or writes anything.
//!
//! ```
//! use std::time::Duration;
//! use mainstay_telemetry::slo::{Export, Slo, Slos};
//!
//! let slos = Slos::default()
//!     .with("orders", "placing", Slo::availability(99.9).with_method("POST").with_route("/orders"))
//!     .with("orders", "fast", Slo::latency(99.0, Duration::from_millis(250)));
//! slos.check()?;
//! let export = Export::new(&slos);
//! let rules = export.files().iter().find(|file| file.name == "orders.rules.yaml").unwrap();
//! assert!(rules.text.contains("SloErrorBudgetBurn"));
//! # Ok::<(), mainstay_telemetry::slo::Invalid>(())
//! ```
//!
//! The rules are those of chapter 5 of Google's *Site Reliability Workbook*, "Alerting on SLOs", its sixth and last
//! way: several windows, several burn rates.
//!
//! **When not to use it**: for a service that has its own rules, or whose requests Prometheus doesn't scrape.
//!
//! | module | holds |
//! |---|---|
//! | `objective` | what is promised, and what of it can't be kept watch on |
//! | `query` | the queries that count a promise's requests and failures |
//! | `burn` | recording rules and alerts of one objective |
//! | `general` | alerts that every service wants |
//! | `unit_tests` | tests of the rules, for promtool |
//! | `alertmanager`, `dashboard` | the route, and the page in Grafana |
//! | `vocabulary` | whether a query names what the service has |
//! | `rules`, `yaml` | files of rules, and how they are written |

mod alertmanager;
mod burn;
mod dashboard;
mod export;
mod general;
mod objective;
mod query;
mod rules;
mod unit_tests;
mod vocabulary;
mod yaml;

pub use export::{Export, File, Purpose};
pub use objective::{Invalid, Reason, Slo, Slos};
pub use vocabulary::{Unknown, Vocabulary};

#[cfg(test)]
mod tests;
