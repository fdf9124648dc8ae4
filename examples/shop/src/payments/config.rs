//! The table `app.payments`.

use mainstay::config::{Duration, Findings, Keys, Section};
use serde::{Deserialize, Serialize};

use crate::database::Location;

#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// How long a payment takes, at most one minute. Default 50 ms.
    pub(super) delay: Duration,
    /// The share of payments that fail, from 0 (none) to 1 (all). Default 0.1. Reloadable.
    pub(super) failure_rate: f64,
    /// Which of them fail: the same seed fails the same ones, by the order in which they come. Default 7.
    pub(super) seed: u64,
    /// The SQLite file. Default: a temporary one, gone when the process ends.
    pub(super) database: Location,
}

impl Default for Config {
    fn default() -> Self {
        Self { delay: Duration::from_millis(50), failure_rate: 0.1, seed: 7, database: None }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if !(0.0..=1.0).contains(&self.failure_rate) {
            findings.reject("failure_rate", "a share from 0 (none fails) to 1 (all fail)");
        }
        if self.delay.get() > std::time::Duration::from_secs(60) {
            findings.reject("delay", "at most 1m");
        }
    }

    fn reloadable(keys: &mut Keys) {
        keys.add("failure_rate");
    }
}
