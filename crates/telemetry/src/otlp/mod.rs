//! Spans, and where asked for metrics and log records, leave the process by OpenTelemetry's protocol, OTLP 1.x, over HTTP
//! with protobuf or over gRPC.
//!
//! [`Spans`] is the [`Sink`](mainstay_core::trace::Sink) of a tracer: it puts what has ended into a bounded queue, or counts it
//! as lost where that is full; it never waits. [`Exporter`] is the one task that empties the queue, in batches, and sends
//! them again for a while where that may help. Requests never wait for a receiver, whatever it does. [`Records`] is the same
//! for log records; what takes them is [`logs::Handle::send_to`](crate::logs::Handle::send_to).
//!
//! | module | holds |
//! |---|---|
//! | `config`, `variables` | `[otlp]`, and the `OTEL_*` variables that set the same keys |
//! | `queue`, `item` | what was recorded: spans and log records |
//! | `export` | the task: when, how often, how long |
//! | `push` | the task that sends metrics, where that is asked for |
//! | `batch`, `message`, `record`, `measured` | what is sent, as bytes |
//! | `transport` | the connection, and what the receiver answers |
//! | `stats`, `complaint`, `quiet` | what became of it, as metrics and in the log, which is not sent |
//!
//! **When not to use it**: where spans go to a file or a vendor's own protocol; a `Sink` of your own does that.
//!
//! **What happens on drop**: an [`Exporter`] that was never run loses what was put into its queue. One that runs ends when
//! every clone of its [`Spans`] is gone, after it has sent what was there.
//!
//! ```
//! use std::time::Duration;
//!
//! use mainstay_core::{metrics::Registry, task::Tasks, trace::{Sampler, Tracer}};
//! use mainstay_telemetry::{otlp, resource::Resource};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (registry, tasks) = (Registry::new(), Tasks::new());
//! let config = otlp::Config::default().with_endpoint("http://collector.example:4318");
//! let exporter = otlp::exporter(&config, Resource::detect(), &registry, &tasks)?;
//! let tracer = match exporter {
//!     Some((spans, exporter)) => {
//!         let within = Duration::from_secs(2);
//!         tasks.spawn_detached(exporter.run(tasks.stopping(), within));
//!         Tracer::new(Sampler::share(0.1), spans)
//!     }
//!     None => Tracer::default(),
//! };
//! # drop(tracer);
//! tasks.stop(Duration::from_secs(3)).await?; // sends what is left
//! # Ok(()) }
//! ```

mod batch;
mod complaint;
mod config;
mod export;
mod item;
mod measured;
mod message;
mod push;
mod queue;
mod quiet;
mod record;
mod stats;
mod stopping;
mod transport;
mod variables;

pub use config::{Compression, Config, Protocol, Tls};
pub use export::{Exporter, exporter, log_exporter};
pub use push::{Pusher, pusher};
pub use queue::{Records, Spans};
pub(crate) use quiet::is_quiet;
pub(crate) use record::Record;
pub use variables::variables;

#[cfg(test)]
mod tests;
