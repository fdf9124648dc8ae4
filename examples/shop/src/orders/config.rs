//! The table `app.orders`.

use mainstay::config::{Duration, Findings, Section};
use serde::{Deserialize, Serialize};

use crate::database::Location;

#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// The SQLite file. Default: a temporary one, gone when the process ends.
    pub(super) database: Location,
    /// How long one try of a payment may take. Default 2 s.
    pub(super) payment_timeout: Duration,
    /// How old an order that is neither paid nor failed must be before it is taken for left behind by a crash, and
    /// undone. More than any request takes. Default 60 s.
    pub(super) recover_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: None,
            payment_timeout: Duration::from_secs(2),
            recover_after: Duration::from_secs(60),
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if self.payment_timeout.is_zero() {
            findings.reject("payment_timeout", "more than zero");
        }
        if self.recover_after.get() < std::time::Duration::from_secs(1) {
            findings.reject("recover_after", "at least 1s");
        }
    }
}
