//! `lifecycle` and `drain` of the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::InvalidConfig;

/// `[lifecycle]`: the bounds of starting and stopping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// How long one component may take to start. Default `30s`.
    #[serde(with = "super::duration")]
    pub start_timeout: Duration,
    /// How long one component may take to stop, to withdraw its registration, or to flush. Default `3s`.
    #[serde(with = "super::duration")]
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
    /// `0s` where nothing balances.
    #[serde(with = "super::duration")]
    pub delay: Duration,
    /// How long after the announcement what is still open is cut, `delay` included. Default `20s`.
    #[serde(with = "super::duration")]
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
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Another bound for the stop of one component.
    #[must_use]
    pub fn with_stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
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
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Another timeout.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Checks what the types can't say: the delay ends before the timeout.
    ///
    /// # Errors
    /// [`InvalidConfig`], which names the keys.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        if self.delay >= self.timeout {
            return Err(InvalidConfig { delay: self.delay, timeout: self.timeout });
        }
        Ok(())
    }
}
