//! Response times of one window, counted without a lock.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Eight steps to each doubling: a time is known to about one part in sixteen.
const STEP_BITS: u32 = 3;
const STEPS: usize = 1 << STEP_BITS;
/// From 2^10 ns (1 µs) to 2^38 ns (about 4.5 minutes).
const FIRST: u32 = 10;
const DOUBLINGS: usize = 28;
const BUCKETS: usize = DOUBLINGS * STEPS;

#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [AtomicU32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU32::new(0) }; BUCKETS] }
    }
}

impl Histogram {
    /// Counts a time, in nanoseconds.
    pub(super) fn add(&self, nanos: u64) {
        if let Some(bucket) = self.buckets.get(index(nanos)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Empties it and gives the median, interpolated within its bucket.
    pub(super) fn take_median(&self) -> Option<Duration> {
        let mut counts = [0u32; BUCKETS];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.swap(0, Ordering::Relaxed);
        }
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return None;
        }
        let mut rank = total.div_ceil(2);
        for (index, count) in counts.iter().map(|count| u64::from(*count)).enumerate() {
            if rank <= count {
                let (low, width) = bounds(index);
                // In the middle of its share of the bucket.
                return Some(Duration::from_nanos(low + width * (2 * rank - 1) / (2 * count)));
            }
            rank -= count;
        }
        None
    }
}

fn index(nanos: u64) -> usize {
    let nanos = nanos.max(1 << FIRST);
    let doubling = nanos.ilog2();
    let step = (nanos >> (doubling - STEP_BITS)) & (STEPS as u64 - 1);
    let index = (doubling - FIRST) as usize * STEPS + step as usize;
    index.min(BUCKETS - 1)
}

/// Lower bound and width of a bucket, in nanoseconds.
fn bounds(index: usize) -> (u64, u64) {
    let doubling = FIRST + (index / STEPS) as u32;
    let width = 1u64 << (doubling - STEP_BITS);
    ((1 << doubling) + (index % STEPS) as u64 * width, width)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_median_is_close_and_taking_it_empties() {
        let histogram = Histogram::default();
        for millis in 1..=99 {
            histogram.add(millis * 1_000_000);
        }
        let median = histogram.take_median().unwrap().as_secs_f64();
        assert!((0.046..0.054).contains(&median), "{median}");
        assert_eq!(histogram.take_median(), None);
    }

    proptest! {
        #[test]
        fn every_time_is_in_the_bucket_that_its_bounds_say(nanos in (1u64 << FIRST)..(1 << 38)) {
            let (low, width) = bounds(index(nanos));
            prop_assert!(low <= nanos && nanos < low + width);
            prop_assert!(width <= nanos / 8 + 1);
        }

        #[test]
        fn no_time_is_out_of_bounds(nanos in any::<u64>()) {
            prop_assert!(index(nanos) < BUCKETS);
        }
    }
}
