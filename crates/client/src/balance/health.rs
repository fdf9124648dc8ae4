//! Whether an endpoint is passed over: because it failed, is ejected, is leaving, asked to be left alone, or was found
//! unhealthy by a check.
//!
//! Each failure in a row doubles the time for which it gets no requests, and so does each ejection. When that is over,
//! one request probes it: an answer lets it back in, a failure (or no end) leaves it out for the next span. It is never
//! given up.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    census::{Census, Counted, nanos},
    ejection::{self, Reason},
};

const FIRST: Duration = Duration::from_millis(50);
/// Also the longest time until an endpoint that is back is found.
const LONGEST: Duration = Duration::from_secs(5);
/// How long an endpoint that said it is leaving is passed over. Where it only wanted an end of that one connection, for
/// its age, the others do its work for so long.
const LEAVING: Duration = Duration::from_secs(1);
/// What was out for less than this comes back at once: that was a hiccup, and no restart.
const HICCUP: Duration = Duration::from_secs(1);
/// What an endpoint gets at least of its share while it starts slowly, so that the start makes progress.
const LEAST_SHARE: f64 = 0.1;

/// What a choice reads is two atomics, zero while all is well; the rest is behind a lock which is taken only when
/// something is the matter. Times are nanoseconds of the [`Clock`](super::census::Clock).
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Until when it is passed over; zero if nothing is known against it.
    until: AtomicU64,
    /// The same without the ejection, for when too many are out.
    unreachable_until: AtomicU64,
    /// Since when it gets more and more requests; zero if it gets all of its share.
    starting_since: AtomicU64,
    /// Bad answers in a row.
    bad: AtomicU32,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    /// Failures to reach it in a row, and when it may be tried again.
    failures: u32,
    retry_at: u64,
    leaving_until: u64,
    paused_until: u64,
    ejection: Option<Ejection>,
    /// How often it was ejected, less the intervals in which it behaved; and when it came back from the last time.
    ejections: u32,
    back_since: u64,
    /// Whether the last checks say that it does not work.
    unhealthy: bool,
    out_since: u64,
    counted: Counted,
}

#[derive(Debug, Clone, Copy)]
struct Ejection {
    reason: Reason,
    until: u64,
}

/// The right to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The endpoint is well, or there is no better one.
    Ordinary,
    /// It failed before; this request finds out whether it still does.
    Probe,
}

/// What the head of a good answer ended, and what counts again if the rest of it never comes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Forgiven {
    bad: u32,
    ejection: bool,
}

/// What is the matter with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Well,
    /// It can't be reached, or breaks connections.
    Failing {
        failures: u32,
        until: u64,
    },
    Ejected {
        reason: Reason,
        until: u64,
    },
    Unhealthy,
    Paused {
        until: u64,
    },
    Leaving {
        until: u64,
    },
    /// It gets a part of its share for now.
    Starting {
        since: u64,
    },
}

impl Health {
    /// Whether it should get requests; `also_ejected` when too many are out to be choosy.
    pub(super) fn is_available(&self, now: u64, also_ejected: bool) -> bool {
        self.available_at(also_ejected) <= now
    }

    /// When it should get requests again, if nothing else happens.
    pub(super) fn available_at(&self, also_ejected: bool) -> u64 {
        let until = if also_ejected { &self.unreachable_until } else { &self.until };
        until.load(Ordering::Relaxed)
    }

    /// Whether it should get this request, where it comes up to its share over the time `window`.
    pub(super) fn admits(&self, now: u64, window: u64) -> bool {
        let since = self.starting_since.load(Ordering::Relaxed);
        if since == 0 {
            return true;
        }
        let age = now.saturating_sub(since);
        if age >= window {
            self.starting_since.store(0, Ordering::Relaxed);
            return true;
        }
        fastrand::f64() < (age as f64 / window as f64).max(LEAST_SHARE)
    }

    pub(super) fn start_slowly(&self, now: u64) {
        self.starting_since.store(now, Ordering::Relaxed);
    }

    /// The right to send a request: always there while it is well; once a span while it fails.
    pub(super) fn claim(&self, now: u64, also_ejected: bool) -> Option<Claim> {
        if self.until.load(Ordering::Relaxed) == 0 {
            return Some(Claim::Ordinary);
        }
        let mut trouble = self.trouble();
        if !trouble.is_out() {
            // Leaving, or asked to be left alone: chosen because that is over, or there is no other.
            self.publish(&trouble, now);
            return Some(Claim::Ordinary);
        }
        if trouble.unhealthy || trouble.paused_until > now {
            return None;
        }
        if trouble.failures > 0 {
            if trouble.retry_at > now {
                return None;
            }
            trouble.retry_at = now + span(FIRST, LONGEST, trouble.failures);
        } else if also_ejected {
            return Some(Claim::Ordinary);
        }
        if let Some(ejection) = &mut trouble.ejection
            && !also_ejected
        {
            if ejection.until > now {
                return None;
            }
            // The next probe, if this one never ends.
            ejection.until = now + nanos(LONGEST);
        }
        self.publish(&trouble, now);
        Some(Claim::Probe)
    }

    /// It answered; whether that was good, if it is known yet; `leaving` if it asked for an end of the connection, which is
    /// how a server that drains says so.
    pub(super) fn answered(
        &self,
        now: u64,
        claim: Claim,
        good: Option<bool>,
        leaving: bool,
        census: &Census,
    ) -> Forgiven {
        let mut forgiven = Forgiven::default();
        // Read first: the line stays shared between the workers while all is well.
        let quiet = self.until.load(Ordering::Relaxed) == 0 && !leaving;
        let too_many = match good {
            Some(true) => {
                forgiven.bad = self.bad.load(Ordering::Relaxed);
                if forgiven.bad != 0 {
                    self.bad.store(0, Ordering::Relaxed);
                }
                false
            }
            Some(false) => self.is_one_too_many(&census.ejection.load()),
            None => false,
        };
        if quiet && !too_many {
            return forgiven;
        }
        self.change(now, census, |trouble| {
            trouble.failures = 0;
            trouble.leaving_until = if leaving { now + nanos(LEAVING) } else { 0 };
            if good == Some(true) && claim == Claim::Probe {
                if trouble.ejection.take().is_some() {
                    trouble.back_since = now;
                    forgiven.ejection = true;
                }
            } else if good == Some(false) {
                self.eject_for(Reason::Answers, now, claim, trouble, census);
            }
        });
        forgiven
    }

    /// It broke an answer off whose head was good. Otherwise one that always does so would be forgiven by each head.
    pub(super) fn broke_off(&self, now: u64, claim: Claim, forgiven: Forgiven, census: &Census) {
        self.bad.fetch_max(forgiven.bad, Ordering::Relaxed);
        self.is_one_too_many(&census.ejection.load());
        self.change(now, census, |trouble| {
            if forgiven.ejection {
                trouble.eject(Reason::Answers, now, census);
            } else {
                self.eject_for(Reason::Answers, now, claim, trouble, census);
            }
        });
        self.failed(now, claim, census);
    }

    /// It could not be reached, or broke the connection.
    pub(super) fn failed(&self, now: u64, claim: Claim, census: &Census) {
        self.change(now, census, |trouble| {
            // Requests that fail together are one failure: the others were under way when the first said it.
            if claim == Claim::Ordinary && trouble.failures > 0 && trouble.retry_at > now {
                return;
            }
            trouble.failures = trouble.failures.saturating_add(1);
            trouble.retry_at = now + span(FIRST, LONGEST, trouble.failures);
        });
    }

    /// The deadline of a request passed before it answered. Once can be the fault of the request; again and again, with
    /// no answer in between, is not.
    pub(super) fn expired(&self, now: u64, claim: Claim, census: &Census) {
        if claim == Claim::Ordinary && !self.is_one_too_many(&census.ejection.load()) {
            return;
        }
        self.change(now, census, |trouble| {
            if claim == Claim::Probe && trouble.failures > 0 {
                trouble.failures = trouble.failures.saturating_add(1);
                trouble.retry_at = now + span(FIRST, LONGEST, trouble.failures);
            } else {
                self.eject_for(Reason::NoAnswer, now, claim, trouble, census);
            }
        });
    }

    /// It asked to be left alone for `duration` (`Retry-After`, or gRPC's pushback), which is kept to within bounds.
    pub(super) fn pause(&self, now: u64, duration: Duration, census: &Census) {
        let most = census.ejection.load().max_pushback.get();
        self.change(now, census, |trouble| {
            trouble.paused_until = trouble.paused_until.max(now.saturating_add(nanos(duration.min(most))));
        });
    }

    /// It is an outlier among the others.
    pub(super) fn eject(&self, now: u64, reason: Reason, census: &Census) {
        self.change(now, census, |trouble| trouble.eject(reason, now, census));
    }

    /// It was no outlier in the last `interval`. If it was there for all of it, its next ejection is shorter.
    pub(super) fn behaved(&self, now: u64, interval: u64) {
        let mut trouble = self.trouble();
        if trouble.ejection.is_none() && now.saturating_sub(trouble.back_since) >= interval {
            trouble.ejections = trouble.ejections.saturating_sub(1);
        }
    }

    /// What the health checks say; without any, nothing speaks against it.
    pub(super) fn checked(&self, now: u64, healthy: bool, census: &Census) {
        // Most of the time it says what was said before.
        if self.trouble().unhealthy == healthy {
            self.change(now, census, |trouble| trouble.unhealthy = !healthy);
        }
    }

    /// Whether it is listed, and whether in the zone of this client.
    pub(super) fn list(&self, now: u64, listed: bool, here: bool, census: &Census) {
        self.change(now, census, |trouble| (trouble.counted.listed, trouble.counted.here) = (listed, here));
    }

    pub(super) fn condition(&self, now: u64) -> Condition {
        let trouble = self.trouble();
        if trouble.unhealthy {
            Condition::Unhealthy
        } else if trouble.failures > 0 {
            Condition::Failing { failures: trouble.failures, until: trouble.retry_at }
        } else if let Some(Ejection { reason, until }) = trouble.ejection {
            Condition::Ejected { reason, until }
        } else if trouble.paused_until > now {
            Condition::Paused { until: trouble.paused_until }
        } else if trouble.leaving_until > now {
            Condition::Leaving { until: trouble.leaving_until }
        } else {
            match self.starting_since.load(Ordering::Relaxed) {
                0 => Condition::Well,
                since => Condition::Starting { since },
            }
        }
    }

    /// Counts one more bad answer, and says whether that is one too many.
    fn is_one_too_many(&self, config: &ejection::Config) -> bool {
        let bad = self.bad.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        config.consecutive_failures > 0 && bad >= config.consecutive_failures
    }

    fn eject_for(&self, reason: Reason, now: u64, claim: Claim, trouble: &mut Trouble, census: &Census) {
        let most = census.ejection.load().consecutive_failures;
        let many = most > 0 && self.bad.load(Ordering::Relaxed) >= most;
        if claim == Claim::Probe && trouble.ejection.take().is_some() {
            // Its place among the ejected is still its own.
            trouble.extend(reason, now, census);
        } else if many && trouble.ejection.is_none() {
            self.bad.store(0, Ordering::Relaxed);
            trouble.eject(reason, now, census);
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        // No code of others runs under the lock, and each change is whole.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, now: u64, census: &Census, change: impl FnOnce(&mut Trouble)) {
        let mut trouble = self.trouble();
        let was = trouble.counted;
        change(&mut trouble);
        trouble.counted.out = trouble.is_out();
        trouble.counted.ejected = trouble.ejection.is_some();
        let is = trouble.counted;
        // An ejection was counted when it was claimed, if the endpoint is listed; the rest is by difference.
        let was = Counted { ejected: was.ejected || (is.ejected && was.listed), ..was };
        census.adjust(was, is);
        if is.out && !was.out {
            trouble.out_since = now;
        } else if was.out && !is.out && now.saturating_sub(trouble.out_since) > nanos(HICCUP) {
            self.start_slowly(now);
        }
        self.publish(&trouble, now);
    }

    /// Makes what the lock guards what choices read.
    fn publish(&self, trouble: &Trouble, now: u64) {
        let mut unreachable = trouble.leaving_until.max(trouble.paused_until);
        if trouble.failures > 0 {
            unreachable = unreachable.max(trouble.retry_at);
        }
        if trouble.unhealthy {
            unreachable = u64::MAX;
        }
        let until = trouble.ejection.map_or(unreachable, |ejection| unreachable.max(ejection.until));
        let quiet = until <= now && !trouble.is_out();
        self.unreachable_until.store(if quiet { 0 } else { unreachable }, Ordering::Relaxed);
        self.until.store(if quiet { 0 } else { until }, Ordering::Relaxed);
    }
}

impl Trouble {
    /// Whether it gets no requests until it has shown that it is well.
    fn is_out(&self) -> bool {
        self.failures > 0 || self.ejection.is_some() || self.unhealthy
    }

    fn eject(&mut self, reason: Reason, now: u64, census: &Census) {
        let may = || census.claim_ejection(census.ejection.load().max_ejected);
        if self.ejection.is_none() && self.counted.listed && may() {
            self.extend(reason, now, census);
        }
    }

    fn extend(&mut self, reason: Reason, now: u64, census: &Census) {
        let config = census.ejection.load();
        self.ejections = self.ejections.saturating_add(1);
        let until = now.saturating_add(span(config.time.get(), config.max_time.get(), self.ejections));
        self.ejection = Some(Ejection { reason, until });
    }
}

/// Doubled with each time, less up to a quarter, so that clients do not probe in step.
fn span(first: Duration, longest: Duration, times: u32) -> u64 {
    let span = nanos(first.saturating_mul(1 << times.saturating_sub(1).min(16)).min(longest));
    span - fastrand::u64(..=span / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An endpoint among four, so that one may be ejected.
    struct One {
        health: Health,
        census: Census,
        now: u64,
    }

    impl One {
        fn new() -> Self {
            let census = Census::new(ejection::Config::default());
            let health = Health::default();
            health.list(1, true, false, &census);
            for _ in 1..4 {
                census.adjust(Counted::default(), Counted { listed: true, ..Counted::default() });
            }
            Self { health, census, now: 1 }
        }

        fn wait(&mut self, duration: Duration) {
            self.now += nanos(duration);
        }

        fn failed(&self, claim: Claim) {
            self.health.failed(self.now, claim, &self.census);
        }

        fn answered(&self, claim: Claim, good: bool) {
            self.health.answered(self.now, claim, Some(good), false, &self.census);
        }

        fn claim(&self) -> Option<Claim> {
            self.health.claim(self.now, false)
        }

        fn is_available(&self) -> bool {
            self.health.is_available(self.now, false)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_endpoint_is_probed_by_one_request_a_span_and_comes_back() {
        let mut one = One::new();
        assert_eq!(one.claim(), Some(Claim::Ordinary));
        for _ in 0..40 {
            one.failed(Claim::Ordinary);
        }
        assert!(!one.is_available());
        assert_eq!(one.claim(), None);
        assert_eq!(one.census.out(), 1);

        one.wait(FIRST);
        assert!(one.is_available(), "what fails together counts once");
        assert_eq!(one.claim(), Some(Claim::Probe));
        assert_eq!(one.claim(), None);
        for _ in 0..40 {
            one.failed(Claim::Probe);
        }
        one.wait(LONGEST);
        assert_eq!(one.claim(), Some(Claim::Probe), "it is never given up");
        one.answered(Claim::Probe, true);
        assert_eq!(one.claim(), Some(Claim::Ordinary));
        assert_eq!(one.census.out(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_leaving_is_passed_over_for_a_while() {
        let mut one = One::new();
        one.health.answered(one.now, Claim::Ordinary, Some(true), true, &one.census);
        assert!(!one.is_available());
        assert_eq!(one.claim(), Some(Claim::Ordinary), "where there is no other it still gets requests");
        one.wait(LEAVING);
        assert!(one.is_available());
        one.health.answered(one.now, Claim::Ordinary, Some(true), true, &one.census);
        one.answered(Claim::Ordinary, true);
        assert!(one.is_available(), "it stayed");
    }

    #[tokio::test(start_paused = true)]
    async fn bad_answers_in_a_row_eject_for_longer_each_time() {
        let mut one = One::new();
        for _ in 0..20 {
            (0..4).for_each(|_| one.answered(Claim::Ordinary, false));
            one.answered(Claim::Ordinary, true);
        }
        assert!(one.is_available(), "never five in a row");
        (0..5).for_each(|_| one.answered(Claim::Ordinary, false));
        assert!(!one.is_available());
        assert_eq!(one.census.ejected(), 1);
        // What was under way when it was ejected does not bring it back.
        one.answered(Claim::Ordinary, true);
        assert!(!one.is_available());

        let mut seconds = 5;
        for _ in 0..4 {
            one.wait(Duration::from_secs(seconds) * 3 / 4 - Duration::from_millis(1));
            assert_eq!(one.claim(), None, "not before three quarters of {seconds} s");
            one.wait(Duration::from_secs(seconds) / 4 + Duration::from_millis(1));
            assert_eq!(one.claim(), Some(Claim::Probe));
            one.answered(Claim::Probe, false);
            seconds *= 2;
        }
        one.wait(Duration::from_secs(seconds));
        assert_eq!(one.claim(), Some(Claim::Probe));
        one.answered(Claim::Probe, true);
        assert_eq!(one.claim(), Some(Claim::Ordinary));
        assert_eq!((one.census.ejected(), one.census.out()), (0, 0));
        assert!(matches!(one.health.condition(one.now), Condition::Starting { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_break_off_after_a_good_head_eject_like_bad_ones() {
        let mut one = One::new();
        let begin = |one: &One, claim| one.health.answered(one.now, claim, Some(true), false, &one.census);
        for _ in 0..20 {
            for _ in 0..4 {
                let head = begin(&one, Claim::Ordinary);
                one.health.broke_off(one.now, Claim::Ordinary, head, &one.census);
            }
            one.answered(Claim::Ordinary, true);
        }
        assert!(one.is_available(), "never five in a row");
        for _ in 0..5 {
            let head = begin(&one, Claim::Ordinary);
            one.health.broke_off(one.now, Claim::Ordinary, head, &one.census);
        }
        assert_eq!(one.census.ejected(), 1);

        // A probe has to come to its end.
        one.wait(Duration::from_secs(5));
        assert_eq!(one.claim(), Some(Claim::Probe));
        let head = begin(&one, Claim::Probe);
        assert!(one.is_available(), "it may be a stream without an end");
        one.health.broke_off(one.now, Claim::Probe, head, &one.census);
        assert_eq!(one.census.ejected(), 1);
        one.wait(Duration::from_secs(7));
        assert_eq!(one.claim(), None, "and for twice as long");
        one.wait(Duration::from_secs(3));
        assert_eq!(one.claim(), Some(Claim::Probe));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_never_answered_eject_and_a_probe_that_is_not_answered_keeps_it_out() {
        let mut one = One::new();
        (0..4).for_each(|_| one.health.expired(one.now, Claim::Ordinary, &one.census));
        assert!(one.is_available());
        one.health.expired(one.now, Claim::Ordinary, &one.census);
        assert!(!one.is_available());
        let Condition::Ejected { reason, .. } = one.health.condition(one.now) else { panic!("not ejected") };
        assert_eq!(reason, Reason::NoAnswer);

        one.wait(Duration::from_secs(5));
        assert_eq!(one.claim(), Some(Claim::Probe));
        one.health.expired(one.now, Claim::Probe, &one.census);
        one.wait(Duration::from_secs(7));
        assert_eq!(one.claim(), None);
        // A probe that never ends: the next one comes all the same.
        one.wait(Duration::from_secs(3));
        assert_eq!(one.claim(), Some(Claim::Probe));
        one.wait(LONGEST);
        assert_eq!(one.claim(), Some(Claim::Probe));
    }

    #[tokio::test(start_paused = true)]
    async fn when_too_many_are_out_the_ejected_are_used_and_the_unreachable_are_not() {
        let one = One::new();
        one.health.eject(one.now, Reason::SuccessRate, &one.census);
        assert!(!one.health.is_available(one.now, false) && one.health.is_available(one.now, true));
        assert_eq!(one.health.claim(one.now, true), Some(Claim::Ordinary));
        one.failed(Claim::Ordinary);
        assert!(!one.health.is_available(one.now, true));
        assert_eq!(one.health.claim(one.now, true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pushback_is_kept_to_within_bounds_and_answers_do_not_end_it() {
        let mut one = One::new();
        one.health.pause(one.now, Duration::from_secs(2), &one.census);
        one.answered(Claim::Ordinary, true);
        one.wait(Duration::from_millis(1999));
        assert!(!one.is_available());
        one.wait(Duration::from_millis(1));
        assert!(one.is_available());
        one.health.pause(one.now, Duration::MAX, &one.census);
        one.wait(Duration::from_secs(30));
        assert!(one.is_available());
        assert_eq!(one.claim(), Some(Claim::Ordinary));
        assert_eq!(one.census.out(), 0, "it is not out: it only asked for time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_gets_more_and_more_requests() {
        let mut one = One::new();
        let window = nanos(Duration::from_secs(10));
        one.health.start_slowly(one.now);
        let share =
            |one: &One| (0..2000).filter(|_| one.health.admits(one.now, window)).count() as f64 / 2000.0;
        assert!((0.05..0.15).contains(&share(&one)));
        one.wait(Duration::from_secs(5));
        assert!((0.45..0.55).contains(&share(&one)));
        one.wait(Duration::from_secs(5));
        assert_eq!(share(&one), 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_no_longer_listed_is_no_longer_counted() {
        let one = One::new();
        one.health.eject(one.now, Reason::Latency, &one.census);
        assert_eq!((one.census.listed(), one.census.ejected(), one.census.out()), (4, 1, 1));
        one.health.list(one.now, false, false, &one.census);
        assert_eq!((one.census.listed(), one.census.ejected(), one.census.out()), (3, 0, 0));
        one.failed(Claim::Ordinary);
        assert_eq!(one.census.out(), 0);
        one.health.list(one.now, true, true, &one.census);
        assert_eq!((one.census.listed(), one.census.ejected(), one.census.out()), (4, 1, 1));
        assert_eq!(one.census.well(), (0, 3));
    }
}
