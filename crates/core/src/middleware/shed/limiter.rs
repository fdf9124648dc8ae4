//! The limit, who is within it, and what is measured. No lock on the way of a request: the one there is guards the
//! control law, is only ever tried, and that once a window.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::{
    Config,
    estimate::{Estimate, Window},
    histogram::Histogram,
    lease::Leases,
};
use crate::{
    context::Criticality,
    error::mapping::Overloaded,
    metrics::{Definition, Observations},
};

/// The limit on the requests in flight, and its measurements. Clones share it.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    config: Config,
    /// Nanoseconds are counted from here.
    epoch: Instant,
    limit: AtomicU32,
    in_flight: AtomicU32,
    leases: Leases,
    /// When the present window began; `CLOSED` while the next limit is worked out.
    window_start: AtomicU64,
    /// When it may end at the earliest.
    window_end: AtomicU64,
    samples: AtomicU32,
    /// Of the samples, those whose callers left without an answer.
    left: AtomicU32,
    peak: AtomicU32,
    histogram: Histogram,
    estimate: Mutex<Estimate>,
    /// For whoever asks, copied from the estimate.
    baseline: AtomicU64,
    median: AtomicU64,
    probing: AtomicBool,
    admitted: AtomicU64,
    refused: [AtomicU64; Criticality::ALL.len()],
}

const CLOSED: u64 = u64::MAX;

/// What a limiter is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The limit, in requests.
    pub limit: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// The response time without a queue; zero before it was measured. Serialised as seconds.
    #[serde(rename = "baseline_seconds", serialize_with = "seconds")]
    pub baseline: Duration,
    /// The median response time of the last window; zero before the first. Serialised as seconds.
    #[serde(rename = "median_seconds", serialize_with = "seconds")]
    pub median: Duration,
    /// Whether the baseline is being measured anew, at a lower limit.
    pub probing: bool,
    /// Requests admitted so far.
    pub admitted: u64,
    /// Requests refused so far, from `sheddable` to `critical-plus`.
    pub refused: [u64; Criticality::ALL.len()],
}

impl Limiter {
    /// Tells the metrics of this limiter, which belongs to `service`.
    pub fn observe(&self, service: &str, to: &mut Observations) {
        let Snapshot { limit, in_flight, refused, .. } = self.snapshot();
        let service = ("service.name", service);
        let most =
            Definition::new("mainstay.shed.limit", "{request}", "How many requests are admitted at once");
        to.gauge(&most, [service], f64::from(limit));
        let now = Definition::new("mainstay.shed.in_flight", "{request}", "Requests that are admitted now");
        to.up_down_counter(&now, [service], i64::from(in_flight));
        let shed = Definition::new("mainstay.shed.refused", "{request}", "Requests refused under overload");
        for (class, count) in Criticality::ALL.into_iter().zip(refused) {
            to.counter(&shed, [service, ("criticality", class.as_str())], count);
        }
    }

    /// A limiter of its own.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let estimate = Estimate::new(config);
        Self(Arc::new(Inner {
            config,
            epoch: Instant::now(),
            limit: AtomicU32::new(estimate.limit()),
            in_flight: AtomicU32::new(0),
            leases: Leases::default(),
            window_start: AtomicU64::new(0),
            window_end: AtomicU64::new(nanos(config.window.get())),
            samples: AtomicU32::new(0),
            left: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            histogram: Histogram::default(),
            estimate: Mutex::new(estimate),
            baseline: AtomicU64::new(0),
            median: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            admitted: AtomicU64::new(0),
            refused: Default::default(),
        }))
    }

    /// What it is at, for people to look at: the values are not from one instant.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = &self.0;
        inner.write_off(inner.now());
        Snapshot {
            limit: inner.limit.load(Ordering::Relaxed),
            in_flight: inner.in_flight.load(Ordering::Relaxed),
            baseline: Duration::from_nanos(inner.baseline.load(Ordering::Relaxed)),
            median: Duration::from_nanos(inner.median.load(Ordering::Relaxed)),
            probing: inner.probing.load(Ordering::Relaxed),
            admitted: inner.admitted.load(Ordering::Relaxed),
            refused: inner.refused.each_ref().map(|count| count.load(Ordering::Relaxed)),
        }
    }

    /// Room for one request of this class; for what is limited by other means than the layer.
    ///
    /// # Errors
    /// [`Overloaded`] if there is none.
    pub fn acquire(&self, criticality: Criticality) -> Result<Permit, Overloaded> {
        self.acquire_at(criticality, Instant::now())
    }

    /// Room for one request that came at this time.
    pub(super) fn acquire_at(&self, criticality: Criticality, now: Instant) -> Result<Permit, Overloaded> {
        let inner = &self.0;
        let now = inner.since_epoch(now);
        // Leases that are over are looked for only when there is no room.
        if inner.enter(criticality) || (inner.write_off(now) && inner.enter(criticality)) {
            inner.admitted.fetch_add(1, Ordering::Relaxed);
            return Ok(Permit { limiter: self.clone(), began: now, held: Held::Work });
        }
        if let Some(count) = inner.refused.get(criticality as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Err(Overloaded::new(inner.config.retry_after.get()))
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limiter").field(&self.snapshot()).finish()
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.since_epoch(Instant::now())
    }

    fn since_epoch(&self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.epoch))
    }

    #[allow(clippy::cast_possible_truncation, reason = "terms wrap, and are compared so")]
    fn term(&self, now: u64) -> u32 {
        (now / nanos(self.config.body_hold.get()).max(1)) as u32
    }

    fn enter(&self, criticality: Criticality) -> bool {
        let allowed = self.config.shares.of(self.limit.load(Ordering::Relaxed), criticality);
        // The look before the leap keeps refusals from writing to a line that everybody reads.
        if self.in_flight.load(Ordering::Relaxed) >= allowed {
            return false;
        }
        let entered = self.in_flight.fetch_add(1, Ordering::AcqRel) < allowed;
        if !entered {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
        }
        entered
    }

    fn leave(&self, count: u32) {
        self.in_flight.fetch_sub(count, Ordering::AcqRel);
    }

    fn write_off(&self, now: u64) -> bool {
        let expired = self.leases.expire(self.term(now));
        self.leave(expired);
        expired > 0
    }

    /// Counts a response time; closes the window when it is its turn.
    fn sample(&self, began: u64, now: u64, answered: bool) {
        if began < self.window_start.load(Ordering::Acquire) {
            return;
        }
        if !answered {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
        self.histogram.add(now.saturating_sub(began));
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        if in_flight > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
        let samples = self.samples.fetch_add(1, Ordering::Relaxed) + 1;
        // Enough for a median to mean something, and what a small limit can bring forth in a few response times.
        let enough = self.limit.load(Ordering::Relaxed).saturating_mul(2).clamp(8, 30);
        if samples >= enough && now >= self.window_end.load(Ordering::Relaxed) {
            self.close_window();
        }
    }

    fn close_window(&self) {
        let Ok(mut estimate) = self.estimate.try_lock() else { return };
        // Samples of the closing window that come in from here on are of no window.
        self.window_start.store(CLOSED, Ordering::Release);
        let peak = self.peak.swap(0, Ordering::Relaxed);
        let samples = self.samples.swap(0, Ordering::Relaxed);
        let left = self.left.swap(0, Ordering::Relaxed);
        let median = self.histogram.take_median().unwrap_or_default();
        let abandoned = left.saturating_mul(2) > samples;
        estimate.update(Window { median, peak, abandoned }, Instant::now());

        self.limit.store(estimate.limit(), Ordering::Relaxed);
        self.baseline.store(nanos(estimate.baseline()), Ordering::Relaxed);
        self.median.store(nanos(median), Ordering::Relaxed);
        self.probing.store(estimate.is_probing(), Ordering::Relaxed);
        let now = self.now();
        self.write_off(now);
        let length = nanos(self.config.window.get()).max(nanos(median).saturating_mul(2));
        self.window_end.store(now.saturating_add(length), Ordering::Relaxed);
        self.window_start.store(now, Ordering::Release);
    }

    /// Whether this took so long that the time says something even without an answer.
    fn is_long(&self, began: u64, now: u64) -> bool {
        let baseline = self.baseline.load(Ordering::Relaxed);
        baseline > 0 && now.saturating_sub(began) >= baseline.saturating_mul(2)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

/// Room for one request. Given back when it is dropped.
#[must_use]
pub struct Permit {
    limiter: Limiter,
    began: u64,
    held: Held,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Until the head of the answer.
    Work,
    /// For the body, on a lease that began in this term.
    Lease(u32),
    /// It was given back.
    Nothing,
}

impl Permit {
    /// The head of the answer is there. A time to failure counts only when it was long: failing fast is not being
    /// fast. Where the body is still to be made the room stays taken, on a lease.
    pub fn head(mut self, failed: bool, body_is_work: bool) -> Option<Self> {
        let inner = &self.limiter.0;
        let now = inner.now();
        if !failed || inner.is_long(self.began, now) {
            inner.sample(self.began, now, true);
        }
        if body_is_work {
            let term = inner.term(now);
            inner.leave(inner.leases.begin(term));
            self.held = Held::Lease(term);
            return Some(self);
        }
        inner.leave(1);
        self.held = Held::Nothing;
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let inner = &self.limiter.0;
        match self.held {
            Held::Work => {
                // Dropped before it answered: at its deadline, or because the caller left.
                let now = inner.now();
                if inner.is_long(self.began, now) {
                    inner.sample(self.began, now, false);
                }
                inner.leave(1);
            }
            Held::Lease(term) => {
                if inner.leases.end(term) {
                    inner.leave(1);
                }
            }
            Held::Nothing => {}
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("held", &self.held).finish_non_exhaustive()
    }
}
