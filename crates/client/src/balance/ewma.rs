//! The load of an endpoint: requests in flight, and their latency as a moving average that follows peaks at once.
//!
//! Peak-EWMA as in Finagle's `loadBalancer` and linkerd: a latency above the average replaces it, one below is blended
//! in by age. An endpoint that slows down is avoided with its first slow answer, and trusted again over [`DECAY`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// After this time an old latency counts for 1/e.
const DECAY: Duration = Duration::from_secs(10);

/// What an endpoint without a measured latency costs while its first request is under way: more than any that is
/// measured, so that one request tries it out and not all of them.
const UNTRIED: f64 = 1e12;

/// Cloning shares it. All writes are single atomics: a lost update costs a little accuracy and no wait.
#[derive(Debug, Clone)]
pub(crate) struct Load(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    in_flight: AtomicU32,
    /// Nanoseconds, as the bits of an `f64`; zero where nothing was measured.
    latency: AtomicU64,
    /// When `latency` was written, in nanoseconds since `epoch`.
    written: AtomicU64,
    epoch: Instant,
}

/// One request in flight, until dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    load: Load,
    since: Instant,
    answered: bool,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            in_flight: AtomicU32::new(0),
            latency: AtomicU64::new(0),
            written: AtomicU64::new(0),
            epoch: Instant::now(),
        }))
    }

    pub(crate) fn start(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { load: self.clone(), since: Instant::now(), answered: false }
    }

    pub(crate) fn cost(&self) -> f64 {
        let in_flight = f64::from(self.0.in_flight.load(Ordering::Relaxed));
        let latency = f64::from_bits(self.0.latency.load(Ordering::Relaxed));
        if latency == 0.0 {
            return if in_flight == 0.0 { 0.0 } else { UNTRIED + in_flight };
        }
        // Fades while nothing is measured: else an endpoint that was slow once would never be asked again.
        latency * self.weight_of_old(Instant::now()) * (in_flight + 1.0)
    }

    fn weight_of_old(&self, now: Instant) -> f64 {
        let written = Duration::from_nanos(self.0.written.load(Ordering::Relaxed));
        let age = now.saturating_duration_since(self.0.epoch).saturating_sub(written);
        (-age.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }

    fn observe(&self, took: Duration, now: Instant, only_above: bool) {
        let old = f64::from_bits(self.0.latency.load(Ordering::Relaxed));
        // Never zero: that says that nothing was measured.
        let new = (took.as_nanos() as f64).max(1.0);
        let weight = self.weight_of_old(now);
        let faded = old * weight;
        if only_above && new <= faded {
            return;
        }
        let latency = if new > faded || old == 0.0 { new } else { faded + new * (1.0 - weight) };
        let written = now.saturating_duration_since(self.0.epoch).as_nanos() as u64;
        self.0.latency.store(latency.to_bits(), Ordering::Relaxed);
        self.0.written.store(written, Ordering::Relaxed);
    }
}

impl InFlight {
    /// The head of the answer is here. The request stays in flight until its body is read.
    pub(crate) fn answered(&mut self) {
        let now = Instant::now();
        self.answered = true;
        self.load.observe(now - self.since, now, false);
    }

    /// There will be no answer, and how long that took says nothing.
    pub(crate) fn failed(&mut self) {
        self.answered = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            // Given up while waiting: the latency is at least that long.
            let now = Instant::now();
            self.load.observe(now - self.since, now, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn measure(load: &Load, millis: u64) {
        let mut request = load.start();
        tokio::time::advance(Duration::from_millis(millis)).await;
        request.answered();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peak_counts_at_once_and_fades() {
        let load = Load::new();
        measure(&load, 1).await;
        measure(&load, 100).await;
        let peak = load.cost();
        assert!(peak > 99e6, "{peak}");
        measure(&load, 1).await;
        assert!(load.cost() > 90e6, "one fast answer does not make it fast");
        tokio::time::advance(DECAY * 5).await;
        assert!(load.cost() < 1e6, "{}", load.cost());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_given_up_counts_as_slow() {
        let load = Load::new();
        measure(&load, 1).await;
        let request = load.start();
        tokio::time::advance(Duration::from_millis(500)).await;
        drop(request);
        assert!(load.cost() > 400e6, "{}", load.cost());

        let fast = Load::new();
        measure(&fast, 100).await;
        drop(fast.start());
        assert!(fast.cost() > 90e6, "a call that was dropped at once does not make it fast");
    }

    #[tokio::test(start_paused = true)]
    async fn an_untried_endpoint_gets_one_request_first() {
        let load = Load::new();
        assert_eq!(load.cost(), 0.0);
        let _first = load.start();
        let busy = Load::new();
        measure(&busy, 1000).await;
        let _more: Vec<_> = (0..100).map(|_| busy.start()).collect();
        assert!(load.cost() > busy.cost());
    }
}
