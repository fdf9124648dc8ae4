use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Span, SpanData};
use crate::context::TraceContext;

/// Takes spans that have ended. Called on the way of a request: it must neither wait nor block.
pub trait Sink: Send + Sync + 'static {
    /// Takes one.
    fn take(&self, span: SpanData);
}

/// Which requests are recorded.
///
/// What the caller decided holds (parent-based); where a trace begins here, a share of the traces. The decision depends on
/// the trace id alone, in the way of W3C Trace Context level 2 and OpenTelemetry's consistent probability sampling, so that
/// services with the same share record the same traces.
#[derive(Debug)]
pub struct Sampler {
    /// Traces whose last 7 bytes are less are recorded.
    below: u64,
    most: Option<Rate>,
    heeds_parents: bool,
}

/// The last 7 bytes of a trace id are random.
const RANDOM_BITS: u32 = 56;

impl Sampler {
    /// Records this share of the traces that begin here: 0.0 none, 1.0 all.
    #[must_use]
    pub fn share(share: f64) -> Self {
        let all = (1_u64 << RANDOM_BITS) as f64;
        // As a float becomes an integer it is held within its bounds; no number is 0.
        Self { below: (share.clamp(0.0, 1.0) * all) as u64, most: None, heeds_parents: true }
    }

    /// No more than this many traces a second that begin here.
    #[must_use]
    pub fn at_most(mut self, per_second: u32) -> Self {
        self.most = Some(Rate { per_second, began: Instant::now(), window: AtomicU64::new(0) });
        self
    }

    /// Decides anew for traces that callers began.
    #[must_use]
    pub fn regardless_of_parents(mut self) -> Self {
        self.heeds_parents = false;
        self
    }

    fn samples(&self, trace: &TraceContext, now: Instant) -> bool {
        if self.heeds_parents && trace.parent().is_some() {
            return trace.is_sampled();
        }
        let bytes = trace.trace_id().to_bytes();
        let random = u128::from_be_bytes(bytes) as u64 & ((1 << RANDOM_BITS) - 1);
        random < self.below && self.most.as_ref().is_none_or(|most| most.admits(now))
    }
}

/// So many in each second.
#[derive(Debug)]
struct Rate {
    per_second: u32,
    began: Instant,
    /// The second, and how many there were in it.
    window: AtomicU64,
}

impl Rate {
    fn admits(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.began).as_secs() << 32;
        let admitted = self.window.fetch_update(Relaxed, Relaxed, |window| {
            let (same, count) = (window >> 32 == second >> 32, window as u32);
            match (same, count) {
                (false, _) if self.per_second > 0 => Some(second | 1),
                (true, count) if count < self.per_second => Some(window + 1),
                _ => None,
            }
        });
        admitted.is_ok()
    }
}

/// Which requests have their own span recorded although their trace is not: known only at the end, so that it is that one
/// span, without what was done within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Keep {
    /// Those that fail by a fault of the service.
    pub errors: bool,
    /// Those that take longer.
    pub slower_than: Option<Duration>,
}

impl Keep {
    /// Those that fail.
    #[must_use]
    pub fn errors(mut self, errors: bool) -> Self {
        self.errors = errors;
        self
    }

    /// Those that take longer than this.
    #[must_use]
    pub fn slower_than(mut self, bound: Duration) -> Self {
        self.slower_than = Some(bound);
        self
    }
}

/// Decides what is recorded, and knows where it goes. Clones are the same one; the default records nothing.
#[derive(Clone, Default)]
pub struct Tracer(Option<Output>);

/// Where spans of a tracer go.
#[derive(Clone)]
pub(super) struct Output(Arc<Inner>);

struct Inner {
    sampler: Sampler,
    keep: Keep,
    sink: Box<dyn Sink>,
}

impl Output {
    pub(super) fn put(&self, span: SpanData) {
        self.0.sink.take(span);
    }
}

impl Tracer {
    /// Records what `sampler` says, for `sink`.
    #[must_use]
    pub fn new(sampler: Sampler, sink: impl Sink) -> Self {
        Self(Some(Output(Arc::new(Inner { sampler, keep: Keep::default(), sink: Box::new(sink) }))))
    }

    /// And these.
    #[must_use]
    pub fn keeping(self, keep: Keep) -> Self {
        let Some(Output(inner)) = self.0 else { return self };
        // It was just made: nobody else has it.
        Self(Arc::try_unwrap(inner).ok().map(|inner| Output(Arc::new(Inner { keep, ..inner }))))
    }

    /// Whether this trace is recorded.
    #[must_use]
    pub fn samples(&self, trace: &TraceContext, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|output| output.0.sampler.samples(trace, now))
    }

    /// Whether what is called is told that a trace is not recorded although the caller records it: only where the decision of callers is
    /// disregarded.
    pub(crate) fn overrules(&self) -> bool {
        self.0.as_ref().is_some_and(|output| !output.0.sampler.heeds_parents)
    }

    /// Begins a span, of a trace that is recorded.
    #[must_use]
    pub fn start(&self, data: SpanData) -> Span {
        match &self.0 {
            Some(output) => Span::start(output.clone(), data),
            None => Span::none(),
        }
    }

    /// Whether a request whose trace is not recorded is kept all the same.
    pub(crate) fn keeps(&self, failed: bool, took: Duration) -> bool {
        self.0.as_ref().is_some_and(|output| {
            let Keep { errors, slower_than } = output.0.keep;
            (errors && failed) || slower_than.is_some_and(|bound| took > bound)
        })
    }

    /// Records one that has ended.
    pub fn put(&self, span: SpanData) {
        if let Some(output) = &self.0 {
            output.put(span);
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sampler = self.0.as_ref().map(|output| &output.0.sampler);
        f.debug_struct("Tracer").field("sampler", &sampler).finish_non_exhaustive()
    }
}
