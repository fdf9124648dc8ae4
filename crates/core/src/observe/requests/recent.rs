//! The slowest requests of a route, and the last that failed.

use std::{
    collections::VecDeque,
    mem,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    context::TraceContext,
    observe::{method::Known, observation::Answered, server::Method},
};

/// So many of the slowest requests are kept of each route, for this window and for the one before.
const SLOWEST: usize = 5;
pub(in crate::observe) const WINDOW: Duration = Duration::from_secs(300);
/// So many that failed are kept of each route.
const FAILED: usize = 10;

/// A request that has ended.
#[derive(Clone)]
pub(in crate::observe) struct Noted {
    pub(in crate::observe) method: Known,
    pub(in crate::observe) rpc_method: Option<Arc<Method>>,
    pub(in crate::observe) answered: Answered,
    pub(in crate::observe) peer: Option<SocketAddr>,
    pub(in crate::observe) trace: TraceContext,
    pub(in crate::observe) took: Duration,
    pub(in crate::observe) ended: Instant,
}

/// Of one route: another one that is called more often, or that fails all the time, pushes nothing out.
#[derive(Default)]
pub(in crate::observe) struct Recent {
    /// The number of the window that the rest is about, from 1.
    window: AtomicU64,
    /// What took longer, in nanoseconds, is among the slowest of the window.
    least: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    slowest: Vec<Noted>,
    before: Vec<Noted>,
    failed: VecDeque<Noted>,
}

impl Recent {
    /// Whether a request that took so long is among the slowest of this window. All but a few are told no.
    pub(in crate::observe) fn is_slow(&self, window: u64, took: Duration) -> bool {
        nanos(took) > self.least.load(Relaxed) || window != self.window.load(Relaxed)
    }

    /// Keeps it: if it is slow enough, and if it failed.
    #[cold]
    pub(in crate::observe) fn note(&self, window: u64, noted: Noted) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut kept, window);
        if noted.answered.has_failed() {
            if kept.failed.len() == FAILED {
                kept.failed.pop_front();
            }
            kept.failed.push_back(noted.clone());
        }
        if kept.slowest.len() == SLOWEST {
            // The quickest is last.
            if kept.slowest.last().is_some_and(|last| last.took >= noted.took) {
                return;
            }
            kept.slowest.pop();
        }
        let position = kept.slowest.partition_point(|slower| slower.took >= noted.took);
        kept.slowest.insert(position, noted);
        if kept.slowest.len() == SLOWEST {
            self.least.store(kept.slowest.last().map_or(0, |last| nanos(last.took)), Relaxed);
        }
    }

    /// The slowest of this window and of the one before, and those that failed; each in no order.
    pub(in crate::observe) fn read(&self, window: u64) -> (Vec<Noted>, Vec<Noted>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut kept, window);
        let slowest = kept.slowest.iter().chain(&kept.before).cloned().collect();
        (slowest, kept.failed.iter().cloned().collect())
    }

    /// Begins a new window, if that is over. Who saw the number before it was counted up is late, and counts to the new one.
    fn turn(&self, kept: &mut Kept, window: u64) {
        let own = self.window.load(Relaxed);
        if window <= own {
            return;
        }
        kept.before = mem::take(&mut kept.slowest);
        if window > own + 1 {
            kept.before.clear();
        }
        self.least.store(0, Relaxed);
        self.window.store(window, Relaxed);
    }
}

fn nanos(took: Duration) -> u64 {
    took.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(took.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};

    use super::*;

    fn noted(took: u64, status: u16) -> Noted {
        Noted {
            method: Known::of(&Method::GET),
            rpc_method: None,
            answered: Answered { status: StatusCode::from_u16(status).ok(), code: None, is_cut: false },
            peer: None,
            trace: TraceContext::root(),
            took: Duration::from_millis(took),
            ended: Instant::now(),
        }
    }

    fn end(recent: &Recent, window: u64, took: u64, status: u16) -> bool {
        let noted = noted(took, status);
        let is_kept = status >= 500 || recent.is_slow(window, noted.took);
        if is_kept {
            recent.note(window, noted);
        }
        is_kept
    }

    fn slowest(recent: &Recent, window: u64) -> Vec<u128> {
        let (mut slowest, _) = recent.read(window);
        slowest.sort_by_key(|noted| std::cmp::Reverse(noted.took));
        slowest.iter().map(|noted| noted.took.as_millis()).collect()
    }

    #[test]
    fn the_slowest_of_a_window_are_kept_and_the_rest_costs_nothing() {
        let recent = Recent::default();
        for took in [3, 9, 1, 7, 5] {
            assert!(end(&recent, 1, took, 200));
        }
        assert!(!end(&recent, 1, 1, 200));
        assert!(end(&recent, 1, 8, 200));
        assert!(!end(&recent, 1, 2, 200));
        assert_eq!(slowest(&recent, 1), [9, 8, 7, 5, 3]);
    }

    #[test]
    fn what_was_slow_at_the_start_is_not_the_slowest_for_ever() {
        let recent = Recent::default();
        for _ in 0..SLOWEST {
            end(&recent, 1, 9000, 200);
        }
        assert!(!end(&recent, 1, 5, 200));
        assert!(end(&recent, 2, 5, 200));
        assert_eq!(slowest(&recent, 2), [9000, 9000, 9000, 9000, 9000, 5]);
        assert!(end(&recent, 3, 4, 200));
        assert_eq!(slowest(&recent, 3), [5, 4]);
        // Nobody came for a while.
        assert!(slowest(&recent, 5).is_empty());
    }

    #[test]
    fn the_last_that_failed_are_kept_whatever_time_they_took() {
        let recent = Recent::default();
        (0..20).for_each(|took| assert!(end(&recent, 1, 1000 - took, 500)));
        end(&recent, 1, 2000, 200);
        let (_, failed) = recent.read(9);
        let took: Vec<_> = failed.iter().map(|noted| noted.took.as_millis()).collect();
        assert_eq!(took, (981..=990).rev().collect::<Vec<_>>());
    }
}
