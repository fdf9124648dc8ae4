//! Weighted round-robin without a lock.
//!
//! The static stride scheduler of gRPC's weighted round-robin (gRFC A58): one counter that all workers advance; in each
//! pass over the endpoints one is taken so often as its weight says, evenly spread over the passes. No state is kept for
//! each endpoint, so nothing has to be locked or put in order.

use std::sync::atomic::{AtomicU64, Ordering};

/// A weight counts at most so many times the mean, and at least the mean over this: else most passes over the endpoints
/// would be for the heaviest one alone. (gRFC A58 has ten as well.)
const SPREAD: f64 = 10.0;
/// The weight of the heaviest.
const MOST: u64 = u16::MAX as u64;

#[derive(Debug)]
pub(crate) struct Robin {
    /// Scaled to [`MOST`] for the heaviest.
    weights: Vec<u16>,
    next: AtomicU64,
}

impl Robin {
    /// Begins at `start`, so that clients that start together don't go round in step.
    pub(crate) fn new(weights: &[f64], start: u64) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
        let kept = |weight: &f64| weight.clamp(mean / SPREAD, mean * SPREAD);
        let most = weights.iter().map(kept).fold(f64::MIN_POSITIVE, f64::max);
        let scaled =
            |weight: &f64| (kept(weight) / most * MOST as f64).round().clamp(1.0, MOST as f64) as u16;
        Self { weights: weights.iter().map(scaled).collect(), next: AtomicU64::new(start) }
    }

    /// The next one in turn. At least one of [`SPREAD`] tries finds one on average, so the loop is short.
    pub(crate) fn next(&self) -> usize {
        let count = self.weights.len() as u64;
        loop {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let (index, pass) = (turn % count, turn / count);
            let weight = u64::from(self.weights[index as usize]);
            // Taken in those passes in which the sum of its weights steps over a multiple of the heaviest's; each begins
            // elsewhere, so that equal ones aren't all skipped in the same pass.
            let offset = MOST / 2 * (index % 2) + index;
            if (weight.wrapping_mul(pass).wrapping_add(offset)) % MOST >= MOST - weight {
                return index as usize;
            }
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(robin: &Robin, turns: usize) -> Vec<usize> {
        let mut counts = vec![0; robin.weights.len()];
        (0..turns).for_each(|_| counts[robin.next()] += 1);
        counts
    }

    #[test]
    fn equal_weights_take_turns() {
        let robin = Robin::new(&[3.0; 4], 0);
        let first: Vec<_> = (0..8).map(|_| robin.next()).collect();
        assert_eq!(first, [0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn turns_are_spread_and_not_in_rows() {
        let robin = Robin::new(&[3.0, 1.0], 0);
        let turns: Vec<_> = (0..4000).map(|_| robin.next()).collect();
        assert!(turns.windows(5).all(|five| five.contains(&1)), "the light one waits for four turns at most");
    }

    proptest! {
        #[test]
        fn each_has_its_share(weights in proptest::collection::vec(1u32..10, 1..20), start: u32) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let sum: f64 = weights.iter().sum();
            let turns = 1000 * weights.len();
            let robin = Robin::new(&weights, u64::from(start));
            for (weight, count) in weights.iter().zip(counts(&robin, turns)) {
                let expected = weight / sum * turns as f64;
                prop_assert!((count as f64 - expected).abs() <= expected * 0.01 + 2.0, "{count} of {expected}");
            }
        }

        #[test]
        fn no_weights_make_it_run_for_long(weights in proptest::collection::vec(1u32.., 1..20)) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let robin = Robin::new(&weights, 0);
            let before = robin.position();
            counts(&robin, 1000);
            prop_assert!(robin.position() - before <= 1000 * 2 * SPREAD as u64 + 2 * weights.len() as u64);
        }
    }
}
