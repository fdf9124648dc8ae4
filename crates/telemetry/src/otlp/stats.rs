//! What became of spans and log records, as metrics.

use mainstay_core::metrics::{Counter, Definition, Registry, Rejected};

/// Why some were lost.
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

/// The metrics of one kind of them.
pub(super) struct Names {
    pub(super) unit: &'static str,
    pub(super) exported: &'static str,
    pub(super) are_exported: &'static str,
    pub(super) dropped: &'static str,
    pub(super) are_dropped: &'static str,
    pub(super) waiting: &'static str,
    pub(super) are_waiting: &'static str,
}

pub(super) const SPANS: Names = Names {
    unit: "{span}",
    exported: "mainstay.telemetry.spans.exported",
    are_exported: "Spans that the receiver has taken",
    dropped: "mainstay.telemetry.spans.dropped",
    are_dropped: "Spans that were recorded and lost, and why",
    waiting: "mainstay.telemetry.spans.waiting",
    are_waiting: "Spans that wait to be sent",
};

pub(super) const RECORDS: Names = Names {
    unit: "{record}",
    exported: "mainstay.telemetry.logs.exported",
    are_exported: "Log records that the receiver has taken",
    dropped: "mainstay.telemetry.logs.dropped",
    are_dropped: "Log records that were to be sent and were lost, and why",
    waiting: "mainstay.telemetry.logs.waiting",
    are_waiting: "Log records that wait to be sent",
};

/// Counts.
#[derive(Debug, Clone)]
pub(super) struct Stats {
    pub(super) exported: Counter,
    /// By [`Reason`].
    dropped: [Counter; 4],
    failures: Counter,
}

impl Stats {
    pub(super) fn new(registry: &Registry, names: &Names) -> Result<Self, Rejected> {
        let exported = Definition::new(names.exported, names.unit, names.are_exported);
        let dropped = Definition::new(names.dropped, names.unit, names.are_dropped);
        let failures = Definition::new(
            "mainstay.telemetry.export.failures",
            "{request}",
            "Requests to the receiver of spans and log records that failed, repeats included",
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
