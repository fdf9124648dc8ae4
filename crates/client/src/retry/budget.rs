//! How often requests may be sent again: a share of those that succeed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// One retry, in the unit that is counted.
const RETRY: u64 = 1000;
/// What is there at the start, so that the first calls can be repeated too.
const RESERVE: u64 = 10 * RETRY;
/// What is saved up at most: the longest burst of retries.
const MOST: u64 = 100 * RETRY;

/// A token bucket: each call that succeeds puts in its share, each repeat takes one out. Ten are there at the start, a
/// hundred are saved up at most. Clones share it.
///
/// It is success that pays, and not the call: where nothing succeeds, repeats end with what was saved up, and an outage
/// gets no more requests than there are callers. (gRPC's throttle, gRFC A6, and the retry quota of the AWS SDKs work
/// so; Finagle's budget counts calls.)
#[derive(Debug, Clone)]
pub struct Budget(Arc<AtomicU64>);

impl Budget {
    /// With ten repeats to begin with.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(RESERVE)))
    }

    /// A call succeeded; it pays for `share` of a repeat, between 0 and 1.
    pub fn deposit(&self, share: f64) {
        let share = (share.clamp(0.0, 1.0) * RETRY as f64) as u64;
        // A full bucket is only read: its line stays shared between the workers.
        let tokens = self.0.load(Ordering::Relaxed);
        if tokens < MOST {
            // May go above by what others put in at the same time: a few calls' worth.
            self.0.fetch_add(share.min(MOST - tokens), Ordering::Relaxed);
        }
    }

    /// Takes out one repeat, if it is there.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let taken = |tokens: u64| tokens.checked_sub(RETRY);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// How many repeats it pays for now.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / RETRY
    }

    /// Puts back what was taken out and not used.
    pub(crate) fn put_back(&self) {
        self.0.fetch_add(RETRY, Ordering::Relaxed);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_fifth_of_what_succeeds_once_the_reserve_is_gone() {
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
