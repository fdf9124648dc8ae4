//! Spans: who did what for a request, and for how long.
//!
//! A [`Tracer`] decides at the beginning of a request whether it is recorded. Where it is not, nothing is allocated, and
//! [`Span`] is empty: all of its methods do nothing. Where it is, the span of the request is in the
//! [`RequestContext`](crate::context::RequestContext), spans of what is done for it are its children, and each goes to the
//! [`Sink`] when it ends. `mainstay-telemetry` has a sink that sends them on.
//!
//! Ids and header fields are not here: they belong to every request, recorded or not ([`crate::context::TraceContext`]).
//!
//! ```
//! use mainstay_core::trace::Span;
//!
//! let parent = Span::current();
//! let span = parent.child("charge the card");
//! span.set("payment.provider", "acme");
//! span.scope(|| { /* what is called here has it as its parent */ });
//! span.end();
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `tracer` | which requests are recorded, and where spans go |
//! | `span` | one that is being recorded |
//! | `data` | one that has ended |

mod current;
mod data;
mod span;
mod tracer;

pub use current::Entered;
pub(crate) use current::Nothing;
pub(crate) use data::beginning;
pub use data::{Event, Kind, SpanData, Status, Value};
pub use span::Span;
pub use tracer::{Keep, Sampler, Sink, Tracer};

#[cfg(test)]
mod tests;
