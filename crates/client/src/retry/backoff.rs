//! The wait before a request is sent again.

use std::time::Duration;

/// Before the `repeat`th repeat (from 1): any time up to `base`, doubled with each repeat, up to `most`. That is "full
/// jitter": of the ways to spread clients that failed together it makes them send the least (Brooker, "Exponential
/// Backoff And Jitter", AWS Architecture Blog, 2015).
pub(crate) fn pause(repeat: u32, base: Duration, most: Duration) -> Duration {
    let doubled = base.saturating_mul(1 << repeat.saturating_sub(1).min(20));
    doubled.min(most).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_spread_over_a_time_that_doubles_up_to_a_bound() {
        let (base, most) = (Duration::from_millis(10), Duration::from_millis(50));
        for (repeat, bound) in [(1, 10), (2, 20), (3, 40), (4, 50), (u32::MAX, 50)] {
            let bound = Duration::from_millis(bound);
            let waits: Vec<_> = (0..500).map(|_| pause(repeat, base, most)).collect();
            assert!(waits.iter().all(|wait| *wait <= bound));
            assert!(
                waits.iter().any(|wait| *wait < bound / 4) && waits.iter().any(|wait| *wait > bound * 3 / 4)
            );
        }
    }
}
