//! The bad luck of payments: slow always, failing now and then, and always the same ones for the same seed.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use mainstay::config::Watched;

use super::config::Config;

/// Decides the fate of payments.
#[derive(Debug)]
pub(super) struct Chaos {
    delay: Duration,
    /// For the rate of failures, which may change.
    config: Watched<Config>,
    random: Mutex<fastrand::Rng>,
}

/// What happens to one payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is made, and its answer arrives.
    Made,
    /// It is not made.
    Lost,
    /// It is made, and its answer is lost: the caller sees the same failure.
    MadeAndLost,
}

impl Chaos {
    pub(super) fn new(config: Watched<Config>) -> Self {
        let (seed, delay) = {
            let config = config.load();
            (config.seed, config.delay.get())
        };
        Self { delay, config, random: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// Waits as long as a payment takes.
    pub(super) async fn wait(&self) {
        tokio::time::sleep(self.delay).await;
    }

    /// The fate of the next payment.
    pub(super) fn next(&self) -> Fate {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        // Two draws each time, so that another rate does not change who is next.
        let (fails, made) = (random.f64() < self.config.load().failure_rate, random.bool());
        match (fails, made) {
            (false, _) => Fate::Made,
            (true, false) => Fate::Lost,
            (true, true) => Fate::MadeAndLost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(failure_rate: f64, seed: u64) -> Vec<Fate> {
        let chaos = Chaos::new(Watched::fixed(Config { failure_rate, seed, ..Config::default() }));
        (0..1000).map(|_| chaos.next()).collect()
    }

    #[test]
    fn the_same_seed_fails_the_same_payments() {
        assert_eq!(fates(0.3, 1), fates(0.3, 1));
        assert_ne!(fates(0.3, 1), fates(0.3, 2));
    }

    #[test]
    fn as_many_fail_as_were_asked_for() {
        let failed = |rate| fates(rate, 1).into_iter().filter(|fate| *fate != Fate::Made).count();
        assert_eq!((failed(0.0), failed(1.0)), (0, 1000));
        assert!((250..350).contains(&failed(0.3)), "{}", failed(0.3));
        assert!(fates(0.3, 1).contains(&Fate::MadeAndLost));
    }
}
