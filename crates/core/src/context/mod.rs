//! What travels with one request: one budget, sent on every hop.
//!
//! A [`RequestContext`] is made once, where the request enters, by
//! the context layer of the stack; it is in the request's extensions, and current ([`RequestContext::current`])
//! wherever the handler's code runs, work spawned through [`crate::task`] included. The client reads it to send on
//! what is left of the deadline, the ids, the criticality and the attempt.
//!
//! Cloning is one atomic increment.

mod ambient;
mod criticality;
mod deadline;
mod request_id;
mod scope;
mod trace;

use std::{fmt, sync::Arc};

use http::HeaderValue;

pub use ambient::Ambient;
pub use criticality::{CRITICALITY, Criticality, UnknownCriticality};
pub use deadline::{Deadline, GRPC_TIMEOUT, InvalidTimeout, REQUEST_TIMEOUT, format_timeout, parse_timeout};
pub use request_id::{REQUEST_ID, RequestId};
pub use scope::Scoped;
pub use trace::{BAGGAGE, InvalidTraceparent, SpanId, TRACEPARENT, TRACESTATE, TraceContext, TraceId};

use crate::lifecycle::Drain;

/// The name of the header that carries how often this call was tried before, `0` for the first try.
pub const ATTEMPT: http::HeaderName = http::HeaderName::from_static("x-request-attempt");

/// What belongs to one request.
#[derive(Clone, Default)]
pub struct RequestContext(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    request_id: Option<HeaderValue>,
    trace: TraceContext,
    tracestate: Option<HeaderValue>,
    baggage: Option<HeaderValue>,
    deadline: Option<Deadline>,
    criticality: Criticality,
    attempt: u32,
    ambient: Ambient,
}

impl RequestContext {
    /// A context with fresh ids, no deadline, and ordinary criticality.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The context of the request whose handler is running, if any.
    #[must_use]
    pub fn current() -> Option<Self> {
        scope::current()
    }

    /// The id of the request: the one that arrived, else the trace id.
    #[must_use]
    pub fn request_id(&self) -> RequestId<'_> {
        match &self.0.request_id {
            Some(given) => RequestId::Given(given),
            None => RequestId::Made(self.0.trace.trace_id()),
        }
    }

    /// Trace and parent span.
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.0.trace
    }

    /// The `tracestate` that arrived, as it was.
    #[must_use]
    pub fn tracestate(&self) -> Option<&HeaderValue> {
        self.0.tracestate.as_ref()
    }

    /// The `baggage` that arrived, as it was.
    #[must_use]
    pub fn baggage(&self) -> Option<&HeaderValue> {
        self.0.baggage.as_ref()
    }

    /// When the answer is of no more use.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.0.deadline
    }

    /// How much the request matters under overload.
    #[must_use]
    pub fn criticality(&self) -> Criticality {
        self.0.criticality
    }

    /// How often the request was tried before: 0 for the first try.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// Tells when the process begins to drain; never, where no host runs the service.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.0.ambient.drain()
    }

    /// What the host gives to every request.
    #[must_use]
    pub fn ambient(&self) -> &Ambient {
        &self.0.ambient
    }

    /// With the request id that arrived; it was found well-formed.
    #[must_use]
    pub fn with_request_id(self, id: HeaderValue) -> Self {
        self.with(|inner| inner.request_id = Some(id))
    }

    /// In this trace.
    #[must_use]
    pub fn with_trace(self, trace: TraceContext) -> Self {
        self.with(|inner| inner.trace = trace)
    }

    /// With the `tracestate` to pass on.
    #[must_use]
    pub fn with_tracestate(self, tracestate: HeaderValue) -> Self {
        self.with(|inner| inner.tracestate = Some(tracestate))
    }

    /// With the `baggage` to pass on.
    #[must_use]
    pub fn with_baggage(self, baggage: HeaderValue) -> Self {
        self.with(|inner| inner.baggage = Some(baggage))
    }

    /// With this deadline, unless there is an earlier one: a budget only shrinks.
    #[must_use]
    pub fn with_deadline(self, deadline: Deadline) -> Self {
        self.with(|inner| {
            inner.deadline = Some(inner.deadline.map_or(deadline, |earlier| earlier.earliest(deadline)));
        })
    }

    /// With this criticality.
    #[must_use]
    pub fn with_criticality(self, criticality: Criticality) -> Self {
        self.with(|inner| inner.criticality = criticality)
    }

    /// As this attempt, counted from 0.
    #[must_use]
    pub fn with_attempt(self, attempt: u32) -> Self {
        self.with(|inner| inner.attempt = attempt)
    }

    /// With the signal that the process drains.
    #[must_use]
    pub fn with_drain(self, drain: Drain) -> Self {
        self.with_ambient(Ambient::new(drain))
    }

    /// With what the host gives to every request.
    #[must_use]
    pub fn with_ambient(self, ambient: Ambient) -> Self {
        self.with(|inner| inner.ambient = ambient)
    }

    /// Changes the one owner's value in place; copies where it is shared, so that nobody else sees the change.
    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("request_id", &format_args!("{}", self.request_id()))
            .field("trace_id", &self.0.trace.trace_id())
            .field("deadline", &self.0.deadline)
            .field("criticality", &self.0.criticality)
            .field("attempt", &self.0.attempt)
            .finish_non_exhaustive()
    }
}

/// The context of the request, in axum handlers; a fresh one where no context layer ran.
impl<S: Sync> axum::extract::FromRequestParts<S> for RequestContext {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().or_else(Self::current).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_only_shrinks() {
        let early = Deadline::after(Duration::from_secs(1));
        let late = Deadline::after(Duration::from_secs(9));
        let context = RequestContext::new().with_deadline(early).with_deadline(late);
        assert_eq!(context.deadline(), Some(early));
    }

    #[test]
    fn a_change_is_not_seen_through_an_earlier_clone() {
        let first = RequestContext::new();
        let second = first.clone().with_attempt(2);
        assert_eq!((first.attempt(), second.attempt()), (0, 2));
        assert_eq!(first.trace().trace_id(), second.trace().trace_id());
    }
}
