//! How often requests may be sent again: a share of the calls, so that retries never make an outage worse.

use std::sync::atomic::{AtomicU64, Ordering};

/// One retry, in the unit that is counted.
const RETRY: u64 = 1000;
/// What is there at the start, so that the first calls can be repeated too.
const RESERVE: u64 = 10 * RETRY;
/// What is saved up at most: the longest burst of retries.
const MOST: u64 = 100 * RETRY;

/// A token bucket: each call puts in its share, each retry takes one out.
#[derive(Debug)]
pub(crate) struct Budget {
    tokens: AtomicU64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { tokens: AtomicU64::new(RESERVE) }
    }

    /// A call begins; it allows for `share` of a retry, between 0 and 1.
    pub(crate) fn deposit(&self, share: f64) {
        let share = (share.clamp(0.0, 1.0) * RETRY as f64) as u64;
        // A full bucket is only read: its line stays shared between the workers.
        let tokens = self.tokens.load(Ordering::Relaxed);
        if tokens < MOST {
            // May go above by what others put in at the same time: a few calls' worth.
            self.tokens.fetch_add(share.min(MOST - tokens), Ordering::Relaxed);
        }
    }

    /// Takes out one retry, if it is there.
    pub(crate) fn withdraw(&self) -> bool {
        let taken = |tokens: u64| tokens.checked_sub(RETRY);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_fifth_of_the_calls_once_the_reserve_is_gone() {
        let budget = Budget::new();
        while budget.withdraw() {}
        let mut retries = 0;
        for _ in 0..1000 {
            budget.deposit(0.2);
            retries += u32::from(budget.withdraw());
        }
        assert_eq!(retries, 200);
    }

    #[test]
    fn a_quiet_time_saves_up_one_burst_only() {
        let budget = Budget::new();
        (0..10_000).for_each(|_| budget.deposit(1.0));
        let retries = (0..10_000).filter(|_| budget.withdraw()).count();
        assert_eq!(retries, 100);
    }
}
