//! The control law: from what one window saw to the next limit.
//!
//! The method is the gradient of Netflix's concurrency-limits ("Performance Under Load", 2018, and `Gradient2Limit`),
//! as Envoy's adaptive concurrency filter refined it:
//!
//! `limit = limit · clamp(tolerated / median, 0.5, tolerance) + headroom`, where
//! `tolerated = max(tolerance · baseline, target)` and `headroom = √limit / 2`.
//!
//! The target is CoDel's (RFC 8289): a gradient alone takes a queue of 2 ms before work of 1 ms for overload, and would
//! refuse the callers of a quick service that loses nothing by it. While the tolerated time is the target, the baseline
//! doesn't matter and isn't probed.
//!
//! *Stable*: with the service saturated, Little's law makes the median response time `limit / throughput`, so that
//! `limit · tolerated / median` is `tolerated · throughput` whatever the limit was: the requests in flight at which
//! each takes the tolerated time. The map has one fixed point, and a slope of `1 / (4 √limit)` there; half of each step is
//! taken, and where the median is at more than twice what is tolerated, when windows are long, the whole of it.
//! A window counts only requests that began in it, and lasts at least two response times, so that no step is taken
//! on what an earlier limit caused (which is what makes such loops swing).
//!
//! *Robust*: medians, on both sides of the quotient. A few slow or fast answers move neither. Where most callers leave
//! unanswered the median is their patience, which no limit changes: such a window says that there is a queue, not how long.
//!
//! *Probes*: the baseline is the response time without a queue. It is followed when it falls. That it rose can't be
//! told from a queue by looking, so now and then, and at once when the limit seems stuck, the limit is halved until the
//! response time stops falling; what is left is the new baseline. (TCP BBR's `ProbeRTT` drains its queue for the same
//! reason; `Gradient2Limit`'s long-term average, and a minimum measured under load, drift up with the queue instead.)
//! Where the limit isn't what holds requests back there is no queue of its making, and nothing is probed or grown. A queue
//! can be there for all that, when callers leave it before it fills the limit: slow answers bring the limit down to what
//! is in flight.

use std::time::Duration;

use tokio::time::Instant;

use super::Config;

/// What one window saw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Median response time.
    pub(super) median: Duration,
    /// Most requests in flight at once.
    pub(super) peak: u32,
    /// Most callers left before they had an answer: the median is their patience, not a response time.
    pub(super) abandoned: bool,
}

#[derive(Debug)]
pub(super) struct Estimate {
    config: Config,
    limit: f64,
    /// Response time without a queue, in seconds; zero before anything was measured.
    baseline: f64,
    mode: Mode,
    /// Windows in a row in which the response time made no sense of the baseline.
    stuck: u32,
    next_probe: Option<Instant>,
    /// No probe because of `stuck` before this.
    quiet_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    /// Nothing measured yet.
    Learning,
    Steady,
    /// The limit is being halved.
    Probing {
        since: Instant,
        /// The window since the limit was halved: what was queued before is leaving. The next one counts.
        settling: bool,
        /// The limit to come back to, as far as it is known.
        resume: f64,
        /// Of the step before; none before the first, since a queue may have been growing then.
        last_median: Option<f64>,
        /// Limit and median of the first step.
        first: Option<(f64, f64)>,
    },
}

/// The response time fell with the limit: there was a queue.
const FELL: f64 = 0.8;
/// How far the response time may be over what is tolerated; noise around the fixed point stays below.
const DOUBTFUL: f64 = 1.33;
/// Windows in a row that make no sense before the baseline is doubted.
const DOUBT: u32 = 5;
/// With less than one part in this of the first limit in flight, slow answers are not taken for a queue while the limit
/// isn't in use: a quiet service with a slow dependency keeps room for a burst.
const UNSEEN: f64 = 8.0;
/// A probe may take up no more than one part in this of the time.
const PROBE_SHARE: u32 = 20;

impl Estimate {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            limit: f64::from(config.initial),
            baseline: 0.0,
            mode: Mode::Learning,
            stuck: 0,
            next_probe: None,
            quiet_until: None,
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between `min` and `max`")]
    pub(super) fn limit(&self) -> u32 {
        (self.limit.round() as u32).clamp(self.config.min, self.config.max)
    }

    pub(super) fn baseline(&self) -> Duration {
        Duration::try_from_secs_f64(self.baseline).unwrap_or_default()
    }

    pub(super) fn is_probing(&self) -> bool {
        matches!(self.mode, Mode::Probing { .. })
    }

    /// Takes the next step.
    pub(super) fn update(&mut self, window: Window, now: Instant) {
        let median = window.median.as_secs_f64().max(1e-9);
        // Under half of the limit in use: it held nobody back.
        let unused = f64::from(window.peak) * 2.0 < self.limit;
        match self.mode {
            Mode::Learning => {
                self.baseline = median;
                self.mode = Mode::Steady;
                if median <= self.target() && !window.abandoned {
                    self.schedule_probe(now, Duration::ZERO);
                } else {
                    self.come_down(window.peak);
                    self.probe(now);
                }
            }
            Mode::Probing { since, settling: true, resume, last_median, first } => {
                self.mode = Mode::Probing { since, settling: false, resume, last_median, first };
            }
            Mode::Probing { since, settling: false, resume, last_median, first } => {
                let measured = (!window.abandoned).then_some(median);
                let fell = window.abandoned || last_median.is_none_or(|last| median < last * FELL);
                let first = first.or(measured.map(|median| (self.limit, median)));
                if fell && !unused && self.limit > self.floor() {
                    self.mode = Mode::Probing { since, settling: true, resume, last_median: measured, first };
                    self.set(self.limit / 2.0);
                } else {
                    self.baseline = last_median.map_or(median, |last| last.min(median));
                    self.mode = Mode::Steady;
                    // Where even the first step had a queue, it tells how much of its limit was too much.
                    let queued = first.map(|(limit, median)| (limit, self.gradient(median)));
                    let queued = queued.filter(|(_, gradient)| *gradient < 1.0);
                    let resume = queued.map_or(resume, |(limit, gradient)| resume.min(limit * gradient));
                    self.set(resume.max(self.limit));
                    self.schedule_probe(now, now - since);
                }
            }
            Mode::Steady => self.steer(median, window, unused, now),
        }
    }

    fn steer(&mut self, median: f64, window: Window, unused: bool, now: Instant) {
        if median < self.baseline {
            self.baseline += 0.25 * (median - self.baseline);
        }
        if unused {
            self.stuck = 0;
            if window.abandoned || median > DOUBTFUL * self.tolerated() {
                self.come_down(window.peak);
            }
            return;
        }
        let gradient = if window.abandoned { 0.0 } else { self.gradient(median) };
        let target = self.limit * gradient.clamp(0.5, self.config.tolerance) + self.limit.sqrt() / 2.0;
        // Far off, the fixed point is below the whole step.
        let part = if gradient < 0.5 { 1.0 } else { 0.5 };
        self.set(self.limit + (target - self.limit) * part);

        // A queue of its own making is gone within a few windows: then it was something else that got slower.
        let senseless = median > DOUBTFUL * self.tolerated();
        self.stuck = if senseless { self.stuck + 1 } else { 0 };
        let doubted = self.stuck >= DOUBT && self.quiet_until.is_none_or(|until| now >= until);
        let due = self.tolerated() > self.target() && self.next_probe.is_some_and(|at| now >= at);
        if doubted || due {
            self.probe(now);
        }
    }

    /// Answers are slow though the limit holds nobody back: callers leave a queue before it fills the limit, perhaps.
    /// From here on it is in use.
    fn come_down(&mut self, peak: u32) {
        let in_use = 2.0 * f64::from(peak);
        self.set(self.limit.min(in_use.max(f64::from(self.config.initial) / UNSEEN)));
    }

    fn probe(&mut self, now: Instant) {
        self.stuck = 0;
        self.mode =
            Mode::Probing { since: now, settling: true, resume: self.limit, last_median: None, first: None };
        self.set(self.limit / 2.0);
    }

    fn schedule_probe(&mut self, now: Instant, took: Duration) {
        let pause = took * PROBE_SHARE;
        // Spread by a tenth, so that the copies of a service don't probe together.
        let spread = self.config.probe_interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        self.next_probe = Some(now + spread.max(pause));
        // In doubt more is lost by waiting than by probing again.
        self.quiet_until = Some(now + took * 4);
    }

    fn gradient(&self, median: f64) -> f64 {
        self.tolerated() / median
    }

    /// The response time, in seconds, that is not taken for a queue.
    fn tolerated(&self) -> f64 {
        (self.config.tolerance * self.baseline).max(self.target())
    }

    fn target(&self) -> f64 {
        self.config.target.as_secs_f64()
    }

    fn floor(&self) -> f64 {
        f64::from(self.config.min)
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(self.floor(), f64::from(self.config.max).max(self.floor()));
    }
}
