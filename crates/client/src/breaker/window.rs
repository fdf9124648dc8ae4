//! How many of the last calls failed.

use std::sync::atomic::{AtomicU64, Ordering};

/// The window moves in steps of a tenth.
pub(super) const STEPS: u64 = 10;

/// Counts have 20 bits; more than that in a step say no more.
const MOST: u64 = (1 << 20) - 1;

/// Each slot: the number of its step in the upper 24 bits, then failures, then calls. Writing is one atomic update.
#[derive(Debug, Default)]
pub(super) struct Window([AtomicU64; STEPS as usize]);

/// What is in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) calls: u64,
    pub(super) failures: u64,
}

impl Window {
    /// A call ended in this step.
    pub(super) fn add(&self, step: u64, failed: bool) {
        let added = |packed| {
            let (mut calls, mut failures) = counts(packed);
            if packed >> 40 != number(step) {
                (calls, failures) = (0, 0);
            }
            calls = (calls + 1).min(MOST);
            failures = (failures + u64::from(failed)).min(MOST);
            Some(number(step) << 40 | failures << 20 | calls)
        };
        if let Some(slot) = self.0.get((step % STEPS) as usize) {
            let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
        }
    }

    /// What is in the window that ends with this step.
    pub(super) fn sum(&self, step: u64) -> Sum {
        let mut sum = Sum { calls: 0, failures: 0 };
        for slot in &self.0 {
            let packed = slot.load(Ordering::Relaxed);
            let age = number(step).wrapping_sub(packed >> 40) & number(u64::MAX);
            if age < STEPS {
                let (calls, failures) = counts(packed);
                sum.calls += calls;
                sum.failures += failures;
            }
        }
        sum
    }

    pub(super) fn clear(&self) {
        self.0.iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
    }
}

fn number(step: u64) -> u64 {
    step & ((1 << 24) - 1)
}

fn counts(packed: u64) -> (u64, u64) {
    (packed & MOST, packed >> 20 & MOST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_window_holds_the_last_steps_and_no_others(
            start in prop_oneof![Just(1u64), Just((1 << 24) - 5), any::<u32>().prop_map(u64::from)],
            calls in proptest::collection::vec((0u64..4, any::<bool>()), 0..200),
        ) {
            let window = Window::default();
            let (mut step, mut all) = (start + STEPS, Vec::new());
            for (ahead, failed) in calls {
                step += ahead;
                window.add(step, failed);
                all.push((step, failed));
                let last: Vec<_> = all.iter().filter(|(at, _)| step - at < STEPS).collect();
                let failures = last.iter().filter(|(_, failed)| *failed).count() as u64;
                prop_assert_eq!(window.sum(step), Sum { calls: last.len() as u64, failures });
            }
        }
    }
}
