//! What travels with one request: one budget, sent on every hop.
//!
//! A [`RequestContext`] is made once, where the request enters, by the context layer of the stack. From there on it is
//! the current one ([`RequestContext::current`]) wherever the request is worked on: in the layers further in, in the
//! handler and its extractors, in the body of its answer, in work spawned through [`crate::task`]. The client reads it
//! to send on what is left of the deadline, the ids, the criticality and the attempt.
//!
//! It goes with the task, not with the request: it is not in the request's extensions. What hands a request over to
//! another task (tower's `Buffer` does) has to take it along: [`RequestContext::current`] on the one side,
//! [`RequestContext::scope`] on the other.
//!
//! Cloning is one atomic increment.

mod ambient;
pub(crate) mod baggage;
mod criticality;
mod deadline;
mod passed_on;
mod propagation;
mod request_id;
mod scope;
mod trace;
pub(crate) mod tracestate;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use http::HeaderValue;

pub use ambient::Ambient;
pub use criticality::{CRITICALITY, Criticality, UnknownCriticality};
pub use deadline::{Deadline, GRPC_TIMEOUT, InvalidTimeout, REQUEST_TIMEOUT, format_timeout, parse_timeout};
pub use passed_on::PassedOn;
pub use propagation::{Format, InvalidPropagation, Propagation};
pub use request_id::{REQUEST_ID, RequestId};
pub use scope::Scoped;
pub(crate) use scope::{Calling, Entered, called_at};
pub use trace::{BAGGAGE, InvalidTraceparent, SpanId, TRACEPARENT, TRACESTATE, TraceContext, TraceId};

use crate::{error::Protocol, lifecycle::Drain, observe::Observation, trace::Span};

/// The name of the header that carries how often this call was tried before, `0` for the first try.
pub const ATTEMPT: http::HeaderName = http::HeaderName::from_static("x-request-attempt");

/// What belongs to one request.
#[derive(Clone, Default)]
pub struct RequestContext(Arc<Parts>);

/// What a context is made of, all at once.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) trace: TraceContext,
    pub(crate) tracestate: Option<HeaderValue>,
    pub(crate) baggage: Option<HeaderValue>,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) criticality: Criticality,
    pub(crate) attempt: u32,
    pub(crate) ambient: Ambient,
    /// How its trace goes on.
    pub(crate) propagation: Propagation,
    /// What the request speaks, where it is known.
    pub(crate) protocol: Option<Protocol>,
    /// What is recorded of the request.
    pub(crate) span: Span,
    /// What is measured of it.
    pub(crate) observation: Option<Observation>,
    /// What it was let in with. Set further in than where the context is made.
    pub(crate) authorization: OnceLock<HeaderValue>,
}

impl Parts {
    /// Sets the deadline, unless there is an earlier one.
    pub(crate) fn bound(&mut self, deadline: Deadline) {
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.earliest(deadline)));
    }
}

impl From<Parts> for RequestContext {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
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

    /// Looks at the context of the request whose handler is running: cheaper than [`Self::current`].
    pub(crate) fn peek<R>(look: impl FnOnce(&Self) -> R) -> Option<R> {
        scope::peek(look)
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

    /// In which formats its trace is sent on.
    #[must_use]
    pub fn propagation(&self) -> Propagation {
        self.0.propagation
    }

    /// What is recorded of the request; nothing, where its trace is not. What is done within it may have spans of its own:
    /// [`Span::current`].
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.0.span
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// What is measured of it.
    pub(crate) fn observation(&self) -> Option<&Observation> {
        self.0.observation.as_ref()
    }

    /// The `tracestate` that arrived and is passed on: as it was, without empty members and older ones of the same key.
    #[must_use]
    pub fn tracestate(&self) -> Option<&HeaderValue> {
        self.0.tracestate.as_ref()
    }

    /// The `baggage` that arrived and is passed on: as it was, without what is malformed or beyond 64 members or 8192 bytes.
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

    /// The `Authorization` that the request was let in with: verified, for this service, and marked as sensitive. What makes
    /// tokens for outgoing calls reads it; it is in no `Debug` output.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.0.authorization.get()
    }

    /// Says that the request which is being handled was let in with `authorization`. For what authenticates; the first one
    /// holds, and outside of a request nothing does.
    pub fn admit(authorization: &HeaderValue) {
        Self::peek(|context| {
            context.0.authorization.get_or_init(|| {
                let mut authorization = authorization.clone();
                authorization.set_sensitive(true);
                authorization
            });
        });
    }

    /// With the request id that arrived; it was found well-formed.
    #[must_use]
    pub fn with_request_id(self, id: HeaderValue) -> Self {
        self.with(|parts| parts.request_id = Some(id))
    }

    /// In this trace.
    #[must_use]
    pub fn with_trace(self, trace: TraceContext) -> Self {
        self.with(|parts| parts.trace = trace)
    }

    /// With its trace sent on in these formats.
    #[must_use]
    pub fn with_propagation(self, propagation: Propagation) -> Self {
        self.with(|parts| parts.propagation = propagation)
    }

    /// With this as what is recorded of it, and its ids.
    #[must_use]
    pub fn with_span(self, span: Span) -> Self {
        self.with(|parts| {
            if let Some(trace) = span.trace() {
                parts.trace = *trace;
            }
            parts.span = span;
        })
    }

    /// For what is begun within `span`: that is its span, where it is recorded.
    pub(crate) fn within(self, span: Span) -> Self {
        let is_own = span.trace().map(TraceContext::span_id) == Some(self.0.trace.span_id());
        if span.is_recording() && !is_own { self.with_span(span) } else { self }
    }

    /// With the `tracestate` to pass on.
    #[must_use]
    pub fn with_tracestate(self, tracestate: HeaderValue) -> Self {
        self.with(|parts| parts.tracestate = Some(tracestate))
    }

    /// With the `baggage` to pass on.
    #[must_use]
    pub fn with_baggage(self, baggage: HeaderValue) -> Self {
        self.with(|parts| parts.baggage = Some(baggage))
    }

    /// With this deadline, unless there is an earlier one: a budget only shrinks.
    #[must_use]
    pub fn with_deadline(self, deadline: Deadline) -> Self {
        self.with(|parts| parts.bound(deadline))
    }

    /// With this criticality.
    #[must_use]
    pub fn with_criticality(self, criticality: Criticality) -> Self {
        self.with(|parts| parts.criticality = criticality)
    }

    /// As this attempt, counted from 0.
    #[must_use]
    pub fn with_attempt(self, attempt: u32) -> Self {
        self.with(|parts| parts.attempt = attempt)
    }

    /// With the signal that the process drains.
    #[must_use]
    pub fn with_drain(self, drain: Drain) -> Self {
        self.with_ambient(Ambient::new(drain))
    }

    /// With what the host gives to every request.
    #[must_use]
    pub fn with_ambient(self, ambient: Ambient) -> Self {
        self.with(|parts| parts.ambient = ambient)
    }

    /// What the request speaks, where the context layer read it.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.0.protocol
    }

    /// Changes the one owner's value in place; copies where it is shared, so that nobody else sees the change.
    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
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
    fn what_a_request_was_let_in_with_is_known_within_it_and_never_shown() {
        let token = HeaderValue::from_static("Bearer s3cret");
        RequestContext::admit(&token);
        RequestContext::new().sync_scope(|| {
            RequestContext::admit(&token);
            RequestContext::admit(&HeaderValue::from_static("Bearer other"));
            let context = RequestContext::current().unwrap().with_attempt(1);
            assert_eq!(context.authorization(), Some(&token));
            assert!(context.authorization().unwrap().is_sensitive());
            let shown = format!("{context:?} {:?}", context.authorization());
            assert!(!shown.contains("s3cret"), "{shown}");
        });
        assert_eq!(RequestContext::new().authorization(), None);
    }

    #[test]
    fn a_change_is_not_seen_through_an_earlier_clone() {
        let first = RequestContext::new();
        let second = first.clone().with_attempt(2);
        assert_eq!((first.attempt(), second.attempt()), (0, 2));
        assert_eq!(first.trace().trace_id(), second.trace().trace_id());
    }
}
