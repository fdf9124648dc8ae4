//! Whether an endpoint is passed over, because it failed or because it says that it is leaving.
//!
//! Each failure in a row doubles the time for which it gets no requests. When that is over, one request probes it:
//! an answer lets it back in, a failure (or no end) leaves it out for the next span. It is never given up.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(50);
/// Also the longest time until an endpoint that is back is found.
const LONGEST: Duration = Duration::from_secs(5);
/// How long an endpoint that said it is leaving is passed over. Where it only wanted an end of that one connection, for
/// its age, the others do its work for so long.
const LEAVING: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Health {
    /// Failures in a row.
    failures: AtomicU32,
    /// When it may be tried again, in nanoseconds since `epoch`.
    retry_at: AtomicU64,
    /// Until when it is leaving, likewise; zero if it is not.
    leaving_until: AtomicU64,
    epoch: Instant,
}

/// The right to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The endpoint is well.
    Ordinary,
    /// It failed before; this request finds out whether it still does.
    Probe,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            failures: AtomicU32::new(0),
            retry_at: AtomicU64::new(0),
            leaving_until: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }

    pub(crate) fn is_available(&self) -> bool {
        let leaving_until = self.leaving_until.load(Ordering::Relaxed);
        (leaving_until == 0 || leaving_until <= self.now()) && self.is_well()
    }

    fn is_well(&self) -> bool {
        self.failures.load(Ordering::Relaxed) == 0 || self.retry_at.load(Ordering::Relaxed) <= self.now()
    }

    /// The right to send a request: always there while it is well; once a span while it fails.
    pub(crate) fn claim(&self) -> Option<Claim> {
        let failures = self.failures.load(Ordering::Relaxed);
        if failures == 0 {
            return Some(Claim::Ordinary);
        }
        let (now, seen) = (self.now(), self.retry_at.load(Ordering::Relaxed));
        let next = now + Self::span(failures);
        let claimed = seen <= now
            && self.retry_at.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        claimed.then_some(Claim::Probe)
    }

    /// It answered; `leaving` if it asked for an end of the connection, which is how a server that drains says so.
    pub(crate) fn answered(&self, leaving: bool) {
        // Read first: the line stays shared between the workers while all is well.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if leaving {
            self.leaving_until.store(self.now() + LEAVING.as_nanos() as u64, Ordering::Relaxed);
        } else if self.leaving_until.load(Ordering::Relaxed) != 0 {
            self.leaving_until.store(0, Ordering::Relaxed);
        }
    }

    /// It could not be reached, or broke the connection.
    pub(crate) fn failed(&self, claim: Claim) {
        // Requests that fail together are one failure: the others were under way when the first said it.
        if claim == Claim::Ordinary && !self.is_well() {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.retry_at.store(self.now() + Self::span(failures), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        Instant::now().saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// Doubled with each failure, less up to a quarter, so that clients do not probe in step.
    fn span(failures: u32) -> u64 {
        let span = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
        let nanos = span.as_nanos() as u64;
        nanos - fastrand::u64(..=nanos / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failing_endpoint_is_probed_by_one_request_a_span_and_comes_back() {
        let health = Health::new();
        assert_eq!(health.claim(), Some(Claim::Ordinary));
        for _ in 0..40 {
            health.failed(Claim::Ordinary);
        }
        assert!(!health.is_available());
        assert_eq!(health.claim(), None);

        tokio::time::advance(FIRST).await;
        assert!(health.is_available(), "what fails together counts once");
        assert_eq!(health.claim(), Some(Claim::Probe));
        assert_eq!(health.claim(), None);
        for _ in 0..40 {
            health.failed(Claim::Probe);
        }
        tokio::time::advance(LONGEST).await;
        assert_eq!(health.claim(), Some(Claim::Probe), "it is never given up");
        health.answered(false);
        assert_eq!(health.claim(), Some(Claim::Ordinary));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_leaving_is_passed_over_for_a_while() {
        let health = Health::new();
        health.answered(true);
        assert!(!health.is_available());
        assert_eq!(health.claim(), Some(Claim::Ordinary), "where there is no other it still gets requests");
        tokio::time::advance(LEAVING).await;
        assert!(health.is_available());
        health.answered(true);
        health.answered(false);
        assert!(health.is_available(), "it stayed");
    }
}
