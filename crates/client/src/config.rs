//! The section `client` of the configuration.

use mainstay_core::config::{ByteSize, Duration, Findings, Section};
use serde::{Deserialize, Serialize};

/// How calls are made.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Until the head of the answer, for calls made where no deadline holds; and again for
    /// [`Response::bytes`](crate::Response::bytes) and its like to read the body. Default `10s`.
    pub timeout: Duration,
    /// To open one connection. Default `2s`.
    pub connect_timeout: Duration,
    /// How long an HTTP/1.1 connection is kept without a request. To be less than the servers keep theirs, so that
    /// it is this side that closes. Default `30s`.
    pub idle_timeout: Duration,
    /// HTTP/1.1 connections kept without a request, for each endpoint and runtime. Default 128.
    pub max_idle: usize,
    /// How often a call is tried at most, the first time included; 1 turns retries off. Default 3.
    pub max_attempts: u32,
    /// Retries as a share of the calls to a service, between 0 and 1; 0 turns retries off. Default 0.2.
    pub retry_budget: f64,
    /// What [`Response::bytes`](crate::Response::bytes) and its like read at most. Default `2MiB`.
    pub max_body: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(30),
            max_idle: 128,
            max_attempts: 3,
            retry_budget: 0.2,
            max_body: ByteSize::from_mib(2),
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        let durations = [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
            ("idle_timeout", self.idle_timeout),
        ];
        for (key, _) in durations.into_iter().filter(|(_, duration)| duration.is_zero()) {
            findings.reject(key, "a duration above zero");
        }
        if self.max_attempts == 0 {
            findings.reject("max_attempts", "at least 1; 1 turns retries off");
        }
        if !(0.0..=1.0).contains(&self.retry_budget) {
            findings.reject("retry_budget", "a share between 0 and 1");
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::config::Loader;

    use super::*;

    #[test]
    fn every_wrong_value_is_named_by_its_key() {
        let values = [
            "timeout=0s",
            "connect_timeout=5",
            "max_attempts=0",
            "retry_budget=2",
            "max_body=2MB",
            "time=1s",
        ];
        let loader = values.iter().fold(Loader::new(), |loader, value| loader.set(format!("client.{value}")));
        let errors = loader.tree::<Config>("client").load().unwrap_err();
        let mut keys: Vec<_> = errors.findings().iter().map(|finding| finding.key.to_string()).collect();
        keys.sort();
        // What the values mean together is looked at once each of them can be read.
        assert_eq!(keys, ["client.connect_timeout", "client.time"]);

        let values = ["timeout=0s", "max_attempts=0", "retry_budget=2", "idle_timeout=250ms"];
        let loader = values.iter().fold(Loader::new(), |loader, value| loader.set(format!("client.{value}")));
        let errors = loader.tree::<Config>("client").load().unwrap_err();
        let mut keys: Vec<_> = errors.findings().iter().map(|finding| finding.key.to_string()).collect();
        keys.sort();
        assert_eq!(keys, ["client.max_attempts", "client.retry_budget", "client.timeout"]);
    }
}
