//! The load of an endpoint: requests in flight, and their latency as a moving average that follows peaks at once.
//!
//! Peak-EWMA as in Finagle's `loadBalancer` and linkerd: a latency above the average replaces it, one below is blended
//! in by age. An endpoint that slows down is avoided with its first slow answer, and trusted again over [`DECAY`].

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// After this time an old latency counts for 1/e.
pub(super) const DECAY: Duration = Duration::from_secs(10);

/// What an endpoint without a measured latency costs while its first request is under way: more than any that is
/// measured, so that one request tries it out and not all of them.
const UNTRIED: f64 = 1e12;

/// All writes are single atomics: a lost update costs a little accuracy and no wait. Times are nanoseconds of the
/// [`Clock`](super::census::Clock).
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    /// Nanoseconds, as the bits of an `f64`; zero where nothing was measured.
    latency: AtomicU64,
    /// When `latency` was written.
    written: AtomicU64,
}

impl Load {
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The average in nanoseconds, faded by its age; zero where nothing was measured. It fades while nothing is
    /// measured: else an endpoint that was slow once would never be asked again.
    pub(crate) fn latency(&self, now: u64) -> f64 {
        f64::from_bits(self.latency.load(Ordering::Relaxed)) * self.weight_of_old(now)
    }

    /// The latency times the requests that would be under way with this one; `share` is the weight of the endpoint
    /// over the mean of all weights.
    pub(crate) fn cost(&self, now: u64, share: f64) -> f64 {
        let in_flight = f64::from(self.in_flight());
        let latency = self.latency(now);
        if latency == 0.0 {
            return if in_flight == 0.0 { 0.0 } else { UNTRIED + in_flight };
        }
        latency * (in_flight / share + 1.0)
    }

    fn weight_of_old(&self, now: u64) -> f64 {
        /// Below a thousandth of the decay nothing fades that anybody would notice.
        const FRESH: u64 = DECAY.as_nanos() as u64 / 1000;
        let age = now.saturating_sub(self.written.load(Ordering::Relaxed));
        if age < FRESH {
            return 1.0;
        }
        (-(age as f64) / DECAY.as_nanos() as f64).exp()
    }

    /// A request took `nanos`, or at least that long where it was given up.
    pub(super) fn observe(&self, nanos: u64, now: u64, only_above: bool) {
        let old = f64::from_bits(self.latency.load(Ordering::Relaxed));
        // Never zero: that says that nothing was measured.
        let new = (nanos as f64).max(1.0);
        let age = now.saturating_sub(self.written.load(Ordering::Relaxed));
        let weight = (-(age as f64) / DECAY.as_nanos() as f64).exp();
        let faded = old * weight;
        if only_above && new <= faded {
            return;
        }
        let latency = if new > faded || old == 0.0 { new } else { faded + new * (1.0 - weight) };
        self.latency.store(latency.to_bits(), Ordering::Relaxed);
        self.written.store(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let load = Load::default();
        load.observe(MILLISECOND, MILLISECOND, false);
        load.observe(100 * MILLISECOND, 101 * MILLISECOND, false);
        let now = 101 * MILLISECOND;
        assert!(load.cost(now, 1.0) > 99e6, "{}", load.cost(now, 1.0));
        load.observe(MILLISECOND, now + MILLISECOND, false);
        assert!(load.cost(now, 1.0) > 90e6, "one fast answer does not make it fast");
        let later = now + 5 * DECAY.as_nanos() as u64;
        assert!(load.cost(later, 1.0) < 1e6, "{}", load.cost(later, 1.0));
    }

    #[test]
    fn a_request_that_was_given_up_counts_as_slow_and_never_as_fast() {
        let load = Load::default();
        load.observe(MILLISECOND, 0, false);
        load.observe(500 * MILLISECOND, 0, true);
        assert!(load.cost(0, 1.0) > 400e6, "{}", load.cost(0, 1.0));
        load.observe(1, 0, true);
        assert!(load.cost(0, 1.0) > 400e6, "a call that was dropped at once does not make it fast");
    }

    #[test]
    fn an_untried_endpoint_gets_one_request_first() {
        let load = Load::default();
        assert_eq!(load.cost(0, 1.0), 0.0);
        load.begin();
        let busy = Load::default();
        busy.observe(1000 * MILLISECOND, 0, false);
        (0..100).for_each(|_| busy.begin());
        assert!(load.cost(0, 1.0) > busy.cost(0, 1.0));
    }

    #[test]
    fn twice_the_weight_carries_twice_the_requests_at_the_same_cost() {
        let (light, heavy) = (Load::default(), Load::default());
        light.observe(MILLISECOND, 0, false);
        heavy.observe(MILLISECOND, 0, false);
        assert_eq!(light.cost(0, 0.5), heavy.cost(0, 1.5), "idle: the draws make the difference");
        (0..2).for_each(|_| light.begin());
        (0..6).for_each(|_| heavy.begin());
        assert_eq!(light.cost(0, 0.5), heavy.cost(0, 1.5));
    }
}
