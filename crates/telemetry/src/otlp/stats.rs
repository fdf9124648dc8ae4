//! What became of spans, as metrics.

use mainstay_core::metrics::{Counter, Definition, Registry, Rejected};

/// Why spans were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// More than can be sent.
    QueueFull,
    /// The receiver did not take them in time, however often they were sent.
    Undelivered,
    /// The receiver does not want them.
    Refused,
    /// The process ended first.
    Stopped,
}

/// Counts.
#[derive(Debug, Clone)]
pub(super) struct Stats {
    pub(super) exported: Counter,
    /// By [`Reason`].
    dropped: [Counter; 4],
    failures: Counter,
}

impl Stats {
    pub(super) fn new(registry: &Registry) -> Result<Self, Rejected> {
        let spans = "{span}";
        let exported =
            Definition::new("mainstay.telemetry.spans.exported", spans, "Spans that the receiver has taken");
        let dropped = Definition::new(
            "mainstay.telemetry.spans.dropped",
            spans,
            "Spans that were recorded and lost, and why",
        );
        let failures = Definition::new(
            "mainstay.telemetry.export.failures",
            "{request}",
            "Requests to the receiver of spans that failed, repeats included",
        );
        let dropped = registry.counter(dropped, ["reason"])?;
        let of = |reason| dropped.with([reason]);
        Ok(Self {
            exported: registry.counter(exported, [])?.only(),
            dropped: [of("queue_full"), of("undelivered"), of("refused"), of("stopped")],
            failures: registry.counter(failures, [])?.only(),
        })
    }

    pub(super) fn drop(&self, reason: Reason, spans: usize) {
        let [full, undelivered, refused, stopped] = &self.dropped;
        let counter = match reason {
            Reason::QueueFull => full,
            Reason::Undelivered => undelivered,
            Reason::Refused => refused,
            Reason::Stopped => stopped,
        };
        counter.add(spans as u64);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.iter().map(Counter::get).sum()
    }

    /// Those that the end of the process lost.
    pub(super) fn stopped(&self) -> u64 {
        let [.., stopped] = &self.dropped;
        stopped.get()
    }

    pub(super) fn fail(&self) {
        self.failures.add(1);
    }
}
