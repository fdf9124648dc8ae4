//! Comparing the endpoints with each other.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Config, Reason};

/// What an endpoint did since the last comparison.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// How many answers, above the low 40 bits; below, the sum of their times in microseconds. One atomic, so that an
    /// answer is one addition.
    answers: AtomicU64,
    bad: AtomicU32,
    /// Requests that got no answer.
    lost: AtomicU32,
}

/// [`Window`] as it was when it was closed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) requests: u32,
    pub(crate) bad: u32,
    /// The mean of those that were answered; zero where none was.
    pub(crate) micros: f64,
}

const SUM: u32 = 40;
/// Eighteen minutes: longer ones count as that, so that a thousand of them can't flow over into the count.
const LONGEST: u64 = 1 << 30;

impl Window {
    pub(crate) fn answered(&self, nanos: u64, good: bool) {
        let micros = (nanos / 1000).min(LONGEST);
        self.answers.fetch_add((1 << SUM) | micros, Ordering::Relaxed);
        if !good {
            self.bad.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer turned out to be a failure after all.
    pub(crate) fn turned_bad(&self) {
        self.bad.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends it and begins the next one.
    pub(crate) fn close(&self) -> Seen {
        let answers = self.answers.swap(0, Ordering::Relaxed);
        let (bad, lost) = (self.bad.swap(0, Ordering::Relaxed), self.lost.swap(0, Ordering::Relaxed));
        let (count, sum) = ((answers >> SUM) as u32, answers & ((1 << SUM) - 1));
        let micros = if count == 0 { 0.0 } else { sum as f64 / f64::from(count) };
        let requests = count.saturating_add(lost);
        Seen { requests, bad: bad.saturating_add(lost).min(requests), micros }
    }
}

/// Which of `seen` are outliers, and in what.
pub(crate) fn sweep(seen: &[Seen], config: &Config) -> Vec<(usize, Reason)> {
    let compared: Vec<(usize, &Seen)> =
        seen.iter().enumerate().filter(|(_, seen)| seen.requests >= config.min_requests.max(1)).collect();
    if compared.len() < config.min_endpoints.max(2) {
        return Vec::new();
    }
    let mut outliers = Vec::new();
    if config.success_rate_deviations > 0.0 {
        let rate = |seen: &Seen| 1.0 - f64::from(seen.bad) / f64::from(seen.requests);
        let count = compared.len() as f64;
        let mean = compared.iter().map(|(_, seen)| rate(seen)).sum::<f64>() / count;
        let variance = compared.iter().map(|(_, seen)| (rate(seen) - mean).powi(2)).sum::<f64>() / count;
        let least = mean - config.success_rate_deviations * variance.sqrt();
        let below = compared.iter().filter(|(_, seen)| rate(seen) < least);
        outliers.extend(below.map(|(index, _)| (*index, Reason::SuccessRate)));
    }
    if config.latency_factor > 0.0 {
        let mut all: Vec<f64> =
            compared.iter().map(|(_, seen)| seen.micros).filter(|micros| *micros > 0.0).collect();
        all.sort_by(f64::total_cmp);
        if let Some(median) = all.get(all.len() / 2) {
            let most = median * config.latency_factor;
            let above = compared.iter().filter(|(_, seen)| seen.micros > most);
            outliers.extend(above.map(|(index, _)| (*index, Reason::Latency)));
        }
    }
    // The worst first: the share that may be ejected can be used up.
    let badness = |(index, _): &(usize, Reason)| {
        seen.get(*index).map_or(0.0, |seen| f64::from(seen.bad) / f64::from(seen.requests.max(1)))
    };
    outliers.sort_by(|one, other| badness(other).total_cmp(&badness(one)));
    outliers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(requests: u32, bad: u32, micros: f64) -> Seen {
        Seen { requests, bad, micros }
    }

    #[test]
    fn one_of_ten_that_fails_often_is_found_and_ten_that_do_are_not() {
        let config = Config::default();
        let mut all = vec![seen(200, 1, 100.0); 10];
        all[3] = seen(200, 100, 100.0);
        assert_eq!(sweep(&all, &config), [(3, Reason::SuccessRate)]);
        assert_eq!(sweep(&[seen(200, 100, 100.0); 10], &config), [], "all the same: no outlier");
        all.truncate(4);
        assert_eq!(sweep(&all, &config), [], "too few to compare");
        let mut few = vec![seen(200, 0, 100.0); 10];
        few[3] = seen(99, 99, 100.0);
        assert_eq!(sweep(&few, &config), [], "too few requests to judge");
    }

    #[test]
    fn one_of_ten_that_is_slow_is_found() {
        let mut config = Config::default();
        let mut all = vec![seen(200, 0, 1_000.0); 10];
        all[7].micros = 10_500.0;
        assert_eq!(sweep(&all, &config), [(7, Reason::Latency)]);
        config.latency_factor = 0.0;
        assert_eq!(sweep(&all, &config), []);
    }

    #[test]
    fn a_window_counts_what_was_answered_and_what_was_lost() {
        let window = Window::default();
        window.answered(2_000_000, true);
        window.answered(4_000_000, false);
        window.answered(u64::MAX, true);
        window.lost();
        let closed = window.close();
        assert_eq!((closed.requests, closed.bad), (4, 2));
        assert!(closed.micros > 3000.0);
        assert_eq!(window.close(), Seen::default());
    }

    proptest! {
        #[test]
        fn at_least_one_is_left_whatever_was_seen(
            all in proptest::collection::vec((0u32..400, 0u32..400, 0.0..1e6f64), 0..20),
        ) {
            let all: Vec<_> = all.into_iter().map(|(requests, bad, micros)| seen(requests, bad.min(requests), micros)).collect();
            let mut out: Vec<_> = sweep(&all, &Config::default()).into_iter().map(|(index, _)| index).collect();
            out.sort_unstable();
            out.dedup();
            prop_assert!(out.is_empty() || out.len() < all.len());
        }
    }
}
