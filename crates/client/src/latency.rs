//! How long a service takes to answer, as live percentiles.

use std::{
    array,
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Each of the two spans that are remembered: the one that is being filled, and the one before.
const SPAN: Duration = Duration::from_secs(10);
/// Buckets to each doubling: a percentile is at most an eighth too high.
const STEPS: usize = 8;
/// From 1 µs to two minutes.
const DOUBLINGS: usize = 27;
const BUCKETS: usize = STEPS * DOUBLINGS;
/// About this many answers of a span are counted. More say no more, and cores would fight over the counters.
const WANTED: u32 = 4096;
/// How old a percentile may be that is used with each call.
const REFRESH: Duration = Duration::from_millis(100);
/// From fewer no percentile is told.
const FEWEST: u32 = 20;

/// The answers of the last ten to twenty seconds. Writing is one atomic addition, and mostly none at high rates; nothing
/// waits. Counts that are lost while spans change places are not missed.
#[derive(Debug)]
pub(crate) struct Latency {
    spans: [Span; 2],
    current: AtomicUsize,
    /// When the current span began, in nanoseconds since `epoch`.
    began: AtomicU64,
    /// One answer of this many is counted.
    one_of: AtomicU32,
    recent: Recent,
    epoch: Instant,
}

/// A percentile that was worked out a moment ago.
#[derive(Debug, Default)]
struct Recent {
    /// In nanoseconds; zero where too few answers are known.
    value: AtomicU64,
    /// Until when it will do, in nanoseconds since `epoch`.
    until: AtomicU64,
}

#[derive(Debug)]
struct Span([AtomicU32; BUCKETS]);

impl Latency {
    pub(crate) fn new() -> Self {
        let span = || Span(array::from_fn(|_| AtomicU32::new(0)));
        Self {
            spans: [span(), span()],
            current: AtomicUsize::new(0),
            began: AtomicU64::new(0),
            one_of: AtomicU32::new(1),
            recent: Recent::default(),
            epoch: Instant::now(),
        }
    }

    /// An answer came at `now`, after so long; or had not come by then.
    pub(crate) fn record(&self, took: Duration, now: Instant) {
        let one_of = self.one_of.load(Ordering::Relaxed);
        if one_of > 1 && fastrand::u32(..one_of) != 0 {
            // Who is not counted does not look at the time either: one that is will.
            return;
        }
        self.turn(now);
        let [zero, one] = &self.spans;
        let span = if self.current.load(Ordering::Relaxed) == 0 { zero } else { one };
        if let Some(bucket) = span.0.get(bucket(took)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a share of the answers (0.5: the median) took at most; none while too few are known. Looks at all buckets:
    /// some hundred nanoseconds.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let [zero, one] = &self.spans;
        let counts = || {
            let both = zero.0.iter().zip(&one.0);
            both.map(|(a, b)| u64::from(a.load(Ordering::Relaxed)) + u64::from(b.load(Ordering::Relaxed)))
        };
        let all: u64 = counts().sum();
        if all < u64::from(FEWEST) {
            return None;
        }
        let mut left = (all as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let index = counts().position(|count| {
            left = left.saturating_sub(count);
            left == 0
        });
        index.map(upper)
    }

    /// As [`Latency::percentile`], for whoever asks with each call, and always for the same share: worked out anew ten
    /// times a second.
    pub(crate) fn recent_percentile(&self, share: f64) -> Option<Duration> {
        let now = self.epoch.elapsed().as_nanos() as u64;
        let Recent { value, until } = &self.recent;
        // While nothing is known there is little to look at.
        if now >= until.load(Ordering::Relaxed) || value.load(Ordering::Relaxed) == 0 {
            let found = self.percentile(share).unwrap_or_default();
            value.store(found.as_nanos() as u64, Ordering::Relaxed);
            until.store(now + REFRESH.as_nanos() as u64, Ordering::Relaxed);
        }
        let found = value.load(Ordering::Relaxed);
        (found > 0).then(|| Duration::from_nanos(found))
    }

    /// Begins the next span when the current one is over.
    fn turn(&self, now: Instant) {
        let now = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        let began = self.began.load(Ordering::Relaxed);
        if now.saturating_sub(began) < SPAN.as_nanos() as u64 {
            return;
        }
        if self.began.compare_exchange(began, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let [zero, one] = &self.spans;
        let (full, next, number) = match self.current.load(Ordering::Relaxed) {
            0 => (zero, one, 1),
            _ => (one, zero, 0),
        };
        let counted = full.0.iter().map(|count| count.load(Ordering::Relaxed)).fold(0, u32::saturating_add);
        let one_of = self.one_of.load(Ordering::Relaxed);
        self.one_of.store((counted.saturating_mul(one_of) / WANTED).max(1), Ordering::Relaxed);
        next.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.current.store(number, Ordering::Relaxed);
    }
}

/// Eight buckets of 1 µs, then eight to each doubling.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let doubling = (micros | 7).ilog2() as usize - 2;
    let step = if doubling == 0 { micros } else { micros >> (doubling - 1) } as usize;
    // From the second doubling on `step` is 8 to 15.
    let index = if doubling == 0 { step } else { doubling * STEPS + step - STEPS };
    index.min(BUCKETS - 1)
}

/// The least latency that is above those of a bucket.
fn upper(index: usize) -> Duration {
    let (doubling, step) = (index / STEPS, (index % STEPS) as u64);
    let micros = if doubling == 0 { step + 1 } else { (step + 9) << (doubling - 1) };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_what_is_at_most_an_eighth_below_its_upper_end(micros in 0u64..100_000_000) {
            let took = Duration::from_micros(micros);
            let upper = upper(bucket(took));
            prop_assert!(upper > took);
            let slack = (took / 8).max(Duration::from_micros(1));
            prop_assert!(upper <= took + slack + Duration::from_micros(1), "{took:?} {upper:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn percentiles_are_those_of_the_last_spans() {
        let latency = Latency::new();
        for millis in 1..=FEWEST - 1 {
            latency.record(Duration::from_millis(u64::from(millis)), Instant::now());
        }
        assert_eq!(latency.percentile(0.5), None, "too few");
        for millis in 1..=1000 {
            latency.record(Duration::from_millis(millis), Instant::now());
        }
        let within = |share: f64, millis: f64| {
            let found = latency.percentile(share).unwrap().as_secs_f64() * 1000.0;
            assert!((millis * 0.97..=millis * 1.13).contains(&found), "{share}: {found}");
        };
        within(0.5, 490.0);
        within(0.95, 950.0);
        within(1.0, 1000.0);

        // Two spans later nothing of it is left.
        for _ in 0..2 {
            tokio::time::advance(SPAN).await;
            (0..100).for_each(|_| latency.record(Duration::from_millis(3), Instant::now()));
        }
        within(0.99, 3.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_recent_percentile_follows_the_measured_one() {
        let latency = Latency::new();
        assert_eq!(latency.recent_percentile(0.5), None);
        (0..FEWEST).for_each(|_| latency.record(Duration::from_millis(3), Instant::now()));
        let before = latency.recent_percentile(0.5).unwrap();
        assert_eq!(Some(before), latency.percentile(0.5));
        (0..FEWEST * 9).for_each(|_| latency.record(Duration::from_millis(9), Instant::now()));
        assert_eq!(latency.recent_percentile(0.5), Some(before), "not yet looked at again");
        tokio::time::advance(REFRESH).await;
        assert_eq!(latency.recent_percentile(0.5), latency.percentile(0.5));
        assert_ne!(latency.recent_percentile(0.5), Some(before));
    }

    #[tokio::test(start_paused = true)]
    async fn at_high_rates_a_sample_is_counted() {
        let latency = Latency::new();
        for _ in 0..WANTED * 16 {
            latency.record(Duration::from_millis(1), Instant::now());
        }
        tokio::time::advance(SPAN).await;
        latency.record(Duration::from_millis(1), Instant::now());
        assert_eq!(latency.one_of.load(Ordering::Relaxed), 16);
        let counted = || latency.spans[1].0.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u32>();
        (0..WANTED * 16).for_each(|_| latency.record(Duration::from_millis(1), Instant::now()));
        assert!((WANTED / 2..WANTED * 2).contains(&counted()), "{}", counted());

        // A quiet time later each one counts again.
        tokio::time::advance(SPAN).await;
        (0..1000).for_each(|_| latency.record(Duration::from_millis(1), Instant::now()));
        tokio::time::advance(SPAN).await;
        (0..1000).for_each(|_| latency.record(Duration::from_millis(1), Instant::now()));
        assert_eq!(latency.one_of.load(Ordering::Relaxed), 1);
    }
}
