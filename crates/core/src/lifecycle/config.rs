//! `lifecycle` and `drain` of the configuration.

use serde::{Deserialize, Serialize};

use super::error::InvalidConfig;
use crate::config::{Duration, Findings, Section};

/// `[lifecycle]`: the bounds of starting and stopping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// How long one component may take to start. Default `30s`.
    pub start_timeout: Duration,
    /// How long one component may take to stop, to withdraw its registration, or to flush. Default `3s`.
    pub stop_timeout: Duration,
}

/// `[drain]`: how requests in flight end (contract LIFE 3).
///
/// With the defaults a process with components three deep ends within 20 s + 0.5 s + 3 × 3 s, below the 30 s that
/// Kubernetes gives by default. What is raised here is to be raised there too (`terminationGracePeriodSeconds`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DrainConfig {
    /// How long the listeners keep accepting after the drain is announced, so that balancers notice. Default `3s`;
    /// `0s` where nothing balances, and in the profile `dev` of a host.
    pub delay: Duration,
    /// How long after the announcement what is still open is cut, `delay` included. Default `20s`.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { start_timeout: Duration::from_secs(30), stop_timeout: Duration::from_secs(3) }
    }
}

impl Config {
    /// Another bound for the start of one component.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.start_timeout = timeout.into();
        self
    }

    /// Another bound for the stop of one component.
    #[must_use]
    pub fn with_stop_timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.stop_timeout = timeout.into();
        self
    }
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { delay: Duration::from_secs(3), timeout: Duration::from_secs(20) }
    }
}

impl DrainConfig {
    /// Another delay.
    #[must_use]
    pub fn with_delay(mut self, delay: impl Into<Duration>) -> Self {
        self.delay = delay.into();
        self
    }

    /// Another timeout.
    #[must_use]
    pub fn with_timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// The check of [`Section`], for configurations made by the program.
    ///
    /// # Errors
    /// [`InvalidConfig`], which names the keys.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        if self.delay >= self.timeout {
            return Err(InvalidConfig { delay: self.delay.get(), timeout: self.timeout.get() });
        }
        Ok(())
    }
}

impl Section for Config {}

impl Section for DrainConfig {
    fn check(&self, findings: &mut Findings) {
        if self.delay >= self.timeout {
            findings
                .reject("delay", format_args!("less than `timeout` ({}), which includes it", self.timeout));
        }
    }
}
