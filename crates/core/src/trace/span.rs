use std::{
    borrow::Cow,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;
use tokio::time::Instant;

use super::{Entered, Event, Kind, SpanData, Status, Value, current, tracer::Output};
use crate::{
    clock,
    context::{RequestContext, TraceContext},
};

/// OpenTelemetry's limits (`OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`, `OTEL_SPAN_EVENT_COUNT_LIMIT`), and one for the length of a
/// value, which has none there.
const ATTRIBUTES: usize = 128;
const EVENTS: usize = 128;
const LENGTH: usize = 4096;

/// A span that is being recorded, or nothing. Clones are the same span; it ends by [`Span::end`], or with the last clone.
#[derive(Clone, Default)]
pub struct Span(Option<Arc<Recording>>);

struct Recording {
    output: Output,
    trace: TraceContext,
    began: Instant,
    state: Mutex<State>,
}

enum State {
    Running(Box<SpanData>),
    /// What was begun for it may go on after it: what its children need is kept.
    Ended(Inherited),
}

#[derive(Clone)]
struct Inherited {
    service: Arc<str>,
    tracestate: Option<HeaderValue>,
}

impl Span {
    pub(super) fn start(output: Output, data: SpanData) -> Self {
        let (trace, began) = (data.trace, Instant::now());
        let state = Mutex::new(State::Running(Box::new(data)));
        Self(Some(Arc::new(Recording { output, trace, began, state })))
    }

    /// Nothing: what is not recorded.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// The span that what is called now belongs to: the innermost one that was entered, else that of the request.
    #[must_use]
    pub fn current() -> Self {
        current::get().or_else(|| RequestContext::peek(|context| context.span().clone())).unwrap_or_default()
    }

    /// Whether [`Self::current`] is recorded: cheaper than to have it.
    #[must_use]
    pub fn is_current_recording() -> bool {
        current::is_open()
            || RequestContext::peek(|context| context.span().is_recording()).unwrap_or_default()
    }

    /// Whether it is recorded.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Its ids, if it is recorded.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.0.as_ref().map(|recording| &recording.trace)
    }

    /// Whether it is recorded and has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.as_ref().is_some_and(|recording| matches!(*recording.state(), State::Running(_)))
    }

    /// A span of what is done within this one, or was begun by it and goes on; nothing, if this is nothing.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.child_of_kind(Kind::Internal, name)
    }

    /// As [`Self::child`], and what it is to this one.
    #[must_use]
    pub fn child_of_kind(&self, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        let Some(own) = &self.0 else { return Self(None) };
        let Inherited { service, tracestate } = own.inherited();
        let mut data = SpanData::new(service, name, kind, own.trace.child());
        data.tracestate = tracestate;
        Self::start(own.output.clone(), data)
    }

    /// Calls it something else.
    pub fn rename(&self, name: impl Into<Cow<'static, str>>) {
        self.change(|data| data.name = name.into());
    }

    /// Sets an attribute. Where there are 128 others it is counted and left out; a text is cut to 4096 bytes.
    pub fn set(&self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.change(|data| {
            let (name, value) = (name.into(), value.into().cut(LENGTH));
            if let Some((_, own)) = data.attributes.iter_mut().find(|(own, _)| *own == name) {
                *own = value;
            } else if data.attributes.len() < ATTRIBUTES {
                data.attributes.push((name, value));
            } else {
                data.dropped_attributes = data.dropped_attributes.saturating_add(1);
            }
        });
    }

    /// Notes that something happened now. Where there are 128 others it is counted and left out.
    pub fn event<N, V>(
        &self,
        name: impl Into<Cow<'static, str>>,
        attributes: impl IntoIterator<Item = (N, V)>,
    ) where
        N: Into<Cow<'static, str>>,
        V: Into<Value>,
    {
        self.change(|data| {
            if data.events.len() == EVENTS {
                data.dropped_events = data.dropped_events.saturating_add(1);
                return;
            }
            let attributes = attributes.into_iter().take(ATTRIBUTES);
            let attributes =
                attributes.map(|(name, value)| (name.into(), value.into().cut(LENGTH))).collect();
            data.events.push(Event { name: name.into(), at: clock::wall(), attributes });
        });
    }

    /// It failed, and why.
    pub fn fail(&self, why: impl Into<Cow<'static, str>>) {
        self.change(|data| data.status = Status::Error(why.into()));
    }

    /// It ends now. What is set later is lost.
    pub fn end(&self) {
        if let Some(recording) = &self.0 {
            recording.end();
        }
    }

    /// Runs `work` within it: what `work` starts has it as its parent.
    pub fn scope<R>(&self, work: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        work()
    }

    /// It is the current one of this thread until what this gives is dropped. Not to be held over an `await`: the future
    /// of a request goes from thread to thread.
    pub fn enter(&self) -> Entered {
        Entered::new(self)
    }

    fn change(&self, change: impl FnOnce(&mut SpanData)) {
        if let Some(recording) = &self.0
            && let State::Running(data) = &mut *recording.state()
        {
            change(data);
        }
    }
}

impl Recording {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inherited(&self) -> Inherited {
        self.state().inherited()
    }

    fn end(&self) {
        let mut state = self.state();
        if let State::Ended(_) = *state {
            return;
        }
        let ended = State::Ended(state.inherited());
        let before = mem::replace(&mut *state, ended);
        // What takes spans is not called with the lock held.
        drop(state);
        if let State::Running(mut data) = before {
            data.end = data.start + self.began.elapsed();
            self.output.put(*data);
        }
    }
}

impl State {
    fn inherited(&self) -> Inherited {
        match self {
            Self::Running(data) => {
                Inherited { service: Arc::clone(&data.service), tracestate: data.tracestate.clone() }
            }
            Self::Ended(inherited) => inherited.clone(),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.0.as_ref().map(|recording| recording.trace)).finish()
    }
}
