//! What is counted over all endpoints of a service, and the clock that all of them share.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::ejection;

/// Nanoseconds since it was made, so that a moment is one atomic. Zero is before every moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        self.at(Instant::now())
    }

    pub(super) fn at(self, moment: Instant) -> u64 {
        nanos(moment.saturating_duration_since(self.0)).saturating_add(1)
    }
}

/// Over five hundred years is for ever.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Each endpoint keeps its part of the counts right, under its own lock: see [`Health`](super::health::Health).
#[derive(Debug)]
pub(crate) struct Census {
    pub(crate) clock: Clock,
    /// What ejects endpoints now.
    pub(super) ejection: ArcSwap<ejection::Config>,
    /// Requests under way to all of them; counted only while the policy asks for it, since every request writes it.
    pub(super) in_flight: AtomicU32,
    pub(super) counts_in_flight: AtomicBool,
    listed: AtomicU32,
    out: AtomicU32,
    ejected: AtomicU32,
    /// Of those in the zone of this client.
    listed_here: AtomicU32,
    out_here: AtomicU32,
}

/// How one endpoint is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) listed: bool,
    /// In the zone of this client.
    pub(super) here: bool,
    /// It gets no requests until it has shown that it is well.
    pub(super) out: bool,
    pub(super) ejected: bool,
}

impl Census {
    pub(super) fn new(ejection: ejection::Config) -> Self {
        Self {
            clock: Clock::new(),
            ejection: ArcSwap::from_pointee(ejection),
            in_flight: AtomicU32::new(0),
            counts_in_flight: AtomicBool::new(false),
            listed: AtomicU32::new(0),
            out: AtomicU32::new(0),
            ejected: AtomicU32::new(0),
            listed_here: AtomicU32::new(0),
            out_here: AtomicU32::new(0),
        }
    }

    pub(super) fn listed(&self) -> u32 {
        self.listed.load(Ordering::Relaxed)
    }

    pub(super) fn out(&self) -> u32 {
        self.out.load(Ordering::Relaxed)
    }

    pub(super) fn ejected(&self) -> u32 {
        self.ejected.load(Ordering::Relaxed)
    }

    /// Whether fewer than this share of the listed endpoints are well.
    pub(super) fn is_below(&self, share: f64) -> bool {
        let out = self.out();
        out != 0 && {
            let listed = f64::from(self.listed());
            listed - f64::from(out) < listed * share
        }
    }

    /// The endpoints that are well: in the zone of this client, and in all.
    pub(super) fn well(&self) -> (u32, u32) {
        let of = |listed: &AtomicU32, out: &AtomicU32| {
            listed.load(Ordering::Relaxed).saturating_sub(out.load(Ordering::Relaxed))
        };
        (of(&self.listed_here, &self.out_here), of(&self.listed, &self.out))
    }

    /// Counts one more as ejected, unless the share that may be is used up. One may always be, where there is another.
    pub(super) fn claim_ejection(&self, share: f64) -> bool {
        let listed = self.listed();
        let most = ((f64::from(listed) * share) as u32).max(1);
        let claim = |ejected| (listed > 1 && ejected < most).then_some(ejected + 1);
        self.ejected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_ok()
    }

    /// Takes over what has changed about one endpoint. An ejection was counted when it was claimed.
    pub(super) fn adjust(&self, was: Counted, is: Counted) {
        let step = |count: &AtomicU32, was: bool, is: bool| {
            match (was, is) {
                (false, true) => count.fetch_add(1, Ordering::Relaxed),
                (true, false) => count.fetch_sub(1, Ordering::Relaxed),
                _ => 0,
            };
        };
        step(&self.listed, was.listed, is.listed);
        step(&self.out, was.listed && was.out, is.listed && is.out);
        step(&self.listed_here, was.listed && was.here, is.listed && is.here);
        step(&self.out_here, was.listed && was.here && was.out, is.listed && is.here && is.out);
        step(&self.ejected, was.listed && was.ejected, is.listed && is.ejected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_most_a_share_is_ejected_and_one_of_two_may_be() {
        let census = Census::new(ejection::Config::default());
        let listed = Counted { listed: true, ..Counted::default() };
        census.adjust(Counted::default(), listed);
        assert!(!census.claim_ejection(0.3), "the only one stays");
        census.adjust(Counted::default(), listed);
        assert!(census.claim_ejection(0.3) && !census.claim_ejection(0.3));
        for _ in 2..10 {
            census.adjust(Counted::default(), listed);
        }
        assert!(census.claim_ejection(0.3) && census.claim_ejection(0.3) && !census.claim_ejection(0.3));
        assert_eq!((census.listed(), census.ejected()), (10, 3));
    }
}
