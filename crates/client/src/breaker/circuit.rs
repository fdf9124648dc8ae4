//! Closed, open, half open.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Config,
    window::{STEPS, Window},
};

/// A breaker, and what it has seen. Clones share it. While it is closed a call takes no lock.
#[derive(Debug, Clone)]
pub struct Circuit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ArcSwap<Config>,
    window: Window,
    is_closed: AtomicBool,
    phase: Mutex<Phase>,
    epoch: Instant,
}

/// Calls of an earlier phase say nothing about this one: each has a number.
#[derive(Debug)]
struct Phase {
    number: u64,
    state: Now,
}

#[derive(Debug, Clone, Copy)]
enum Now {
    Closed,
    Open { until: Instant },
    HalfOpen { running: u32, succeeded: u32 },
}

/// What a [`Circuit`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum State {
    /// Calls are let through.
    Closed,
    /// Calls are refused.
    Open,
    /// Some calls are let through, to find out.
    HalfOpen,
}

/// The breaker is open: the call was refused, and not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("calls are made again in {retry_after:?}")]
#[non_exhaustive]
pub struct Open {
    /// When the next call may be made.
    pub retry_after: Duration,
}

/// The right to make one call. Tell it how that went; a call that is dropped counts as none.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    circuit: Circuit,
    /// The number of the phase, if it probes.
    probes: Option<u64>,
    /// Whether the end of another probe is waited for on its account.
    holds: bool,
}

impl Circuit {
    /// A closed one.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Inner {
            config: ArcSwap::from_pointee(config),
            window: Window::default(),
            is_closed: AtomicBool::new(true),
            phase: Mutex::new(Phase { number: 0, state: Now::Closed }),
            epoch: Instant::now(),
        }))
    }

    /// Changes its configuration; what it has seen, and whether it is open, stays.
    pub fn reconfigure(&self, config: Config) {
        self.0.config.store(Arc::new(config));
    }

    /// Whether a call may be made.
    ///
    /// # Errors
    /// [`Open`] if not.
    pub fn admit(&self) -> Result<Permit, Open> {
        if self.0.is_closed.load(Ordering::Relaxed) {
            return Ok(Permit { circuit: self.clone(), probes: None, holds: false });
        }
        let config = self.0.config.load();
        let mut phase = self.phase();
        let now = Instant::now();
        if let Now::Open { until } = phase.state {
            if now < until {
                return Err(Open { retry_after: until - now });
            }
            phase.turn(Now::HalfOpen { running: 0, succeeded: 0 });
        }
        let number = phase.number;
        match &mut phase.state {
            Now::HalfOpen { running, succeeded } if *running + *succeeded < config.probes => {
                *running += 1;
                Ok(Permit { circuit: self.clone(), probes: Some(number), holds: true })
            }
            Now::HalfOpen { .. } => {
                // Until the probes have ended, which take no longer than that if they ever end well.
                Err(Open { retry_after: config.open_for.get().min(Duration::from_secs(1)) })
            }
            Now::Closed | Now::Open { .. } => {
                Ok(Permit { circuit: self.clone(), probes: None, holds: false })
            }
        }
    }

    /// What it is now.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase().state {
            Now::Closed => State::Closed,
            Now::Open { until } if Instant::now() < until => State::Open,
            Now::Open { .. } | Now::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// A call that was let through while it was closed has ended.
    fn watched(&self, failed: bool) {
        let inner = &self.0;
        let config = inner.config.load();
        let step = inner.step(&config);
        inner.window.add(step, failed);
        if !failed {
            return;
        }
        let sum = inner.window.sum(step);
        let too_many = sum.failures as f64 >= config.failure_rate * sum.calls as f64;
        if sum.calls >= u64::from(config.min_calls) && too_many {
            let mut phase = self.phase();
            if matches!(phase.state, Now::Closed) {
                self.open(&mut phase, &config);
            }
        }
    }

    /// A call that was let through to find out gives back its place, if it `held` one, and has ended; `None` if nothing is
    /// known of that.
    fn probed(&self, number: u64, held: bool, failed: Option<bool>) {
        let config = self.0.config.load();
        let mut phase = self.phase();
        if phase.number != number {
            return;
        }
        let Now::HalfOpen { running, succeeded } = &mut phase.state else { return };
        *running = running.saturating_sub(u32::from(held));
        match failed {
            None => {}
            Some(true) => self.open(&mut phase, &config),
            Some(false) => {
                *succeeded += 1;
                if *succeeded >= config.probes {
                    self.0.window.clear();
                    phase.turn(Now::Closed);
                    self.0.is_closed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn open(&self, phase: &mut Phase, config: &Config) {
        let open_for = config.open_for.get().mul_f64(1.0 - fastrand::f64() / 4.0);
        phase.turn(Now::Open { until: Instant::now() + open_for });
        self.0.is_closed.store(false, Ordering::Relaxed);
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn step(&self, config: &Config) -> u64 {
        let length = (config.window.as_nanos() / u128::from(STEPS)).max(1);
        // From one on: a slot that was never written has the number zero.
        let step = self.epoch.elapsed().as_nanos() / length;
        u64::try_from(step).unwrap_or(u64::MAX).saturating_add(STEPS)
    }
}

impl Phase {
    fn turn(&mut self, state: Now) {
        self.number += 1;
        self.state = state;
    }
}

impl Permit {
    /// Whether the call was let through to find out.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probes.is_some()
    }

    /// The call is answered, and it will take until later to know how it went: the next one may find out as well.
    pub fn answered(&mut self) {
        if let Some(number) = self.probes
            && std::mem::take(&mut self.holds)
        {
            self.circuit.probed(number, true, None);
        }
    }

    /// The call has ended.
    pub fn ended(mut self, failed: bool) {
        match self.probes.take() {
            Some(number) => self.circuit.probed(number, self.holds, Some(failed)),
            None => self.circuit.watched(failed),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> Circuit {
        Circuit::new(Config { min_calls: 10, probes: 2, ..Config::default() })
    }

    fn fail(circuit: &Circuit, times: usize) {
        (0..times).for_each(|_| circuit.admit().unwrap().ended(true));
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_when_half_of_enough_calls_failed_and_closes_when_the_probes_succeed() {
        let circuit = circuit();
        (0..5).for_each(|_| circuit.admit().unwrap().ended(false));
        fail(&circuit, 4);
        assert_eq!(circuit.state(), State::Closed, "nine calls are too few");
        fail(&circuit, 1);
        assert_eq!(circuit.state(), State::Open);
        let open = circuit.admit().unwrap_err();
        assert!((Duration::from_millis(3750)..=Duration::from_secs(5)).contains(&open.retry_after));

        tokio::time::advance(open.retry_after).await;
        let (first, second) = (circuit.admit().unwrap(), circuit.admit().unwrap());
        assert!(circuit.admit().is_err(), "two probe at once");
        // One that is dropped found out nothing, and another takes its place.
        drop(first);
        let third = circuit.admit().unwrap();
        second.ended(false);
        assert_eq!(circuit.state(), State::HalfOpen);
        third.ended(false);
        assert_eq!(circuit.state(), State::Closed);
        fail(&circuit, 9);
        assert_eq!(circuit.state(), State::Closed, "what was before is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_opens_it_again_and_the_others_of_its_phase_count_no_more() {
        let circuit = circuit();
        let late = circuit.admit().unwrap();
        fail(&circuit, 10);
        tokio::time::advance(Duration::from_secs(5)).await;
        let (one, other) = (circuit.admit().unwrap(), circuit.admit().unwrap());
        one.ended(true);
        assert_eq!(circuit.state(), State::Open);
        other.ended(false);
        late.ended(false);
        assert_eq!(circuit.state(), State::Open);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(circuit.state(), State::HalfOpen);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_are_older_than_the_window_do_not_open_it() {
        let circuit = circuit();
        fail(&circuit, 9);
        tokio::time::advance(Duration::from_secs(11)).await;
        fail(&circuit, 9);
        assert_eq!(circuit.state(), State::Closed);
        fail(&circuit, 1);
        assert_eq!(circuit.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_whose_outcome_comes_late_holds_no_other_up() {
        let circuit = circuit();
        fail(&circuit, 10);
        tokio::time::advance(Duration::from_secs(5)).await;
        let mut streams: Vec<_> = (0..2).map(|_| circuit.admit().unwrap()).collect();
        assert!(circuit.admit().is_err());
        streams.iter_mut().for_each(Permit::answered);
        let third = circuit.admit().unwrap();
        assert!(third.is_probe());
        // Given up: it says nothing, and its place is given back once.
        drop(streams.pop());
        circuit.admit().unwrap().ended(false);
        third.ended(false);
        assert_eq!(circuit.state(), State::Closed);
        // Of an earlier phase.
        streams.pop().unwrap().ended(true);
        assert_eq!(circuit.state(), State::Closed);

        fail(&circuit, 10);
        tokio::time::advance(Duration::from_secs(5)).await;
        let mut stream = circuit.admit().unwrap();
        stream.answered();
        stream.ended(true);
        assert_eq!(circuit.state(), State::Open);
    }
}
