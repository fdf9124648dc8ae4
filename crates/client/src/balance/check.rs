//! What a health check asks, and what its results add up to.

use std::sync::atomic::{AtomicU32, Ordering};

use mainstay_core::config::{Duration, Findings};
use serde::{Deserialize, Serialize};

/// How endpoints are asked whether they work: by a path, or by `grpc.health.v1`. One of the two is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Check {
    /// A path that is answered with a 2xx while the endpoint works, such as `/readyz`. Default: none.
    pub path: Option<String>,
    /// The service that `grpc.health.v1.Health/Check` is asked for; empty for the whole server. One that does not
    /// implement it counts as working. Default: none.
    pub grpc: Option<String>,
    /// How often. Default `5s`.
    pub interval: Duration,
    /// How long an answer may take, the connection included. Default `1s`.
    pub timeout: Duration,
    /// So many failures in a row take an endpoint out. Default 3.
    pub unhealthy_after: u32,
    /// And so many successes in a row bring it back. Default 1.
    pub healthy_after: u32,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            path: None,
            grpc: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 1,
        }
    }
}

impl Check {
    pub(super) fn check(&self, findings: &mut Findings) {
        match (&self.path, &self.grpc) {
            (Some(path), None)
                if path.parse::<http::uri::PathAndQuery>().is_err() || !path.starts_with('/') =>
            {
                findings.reject("path", "a path that begins with `/`");
            }
            (Some(_), None) => {}
            (None, Some(service)) if service.len() > 255 => findings.reject("grpc", "at most 255 bytes"),
            (None, Some(_)) => {}
            (None, None) | (Some(_), Some(_)) => findings.reject("path", "one of `path` and `grpc`"),
        }
        for (key, duration) in [("interval", self.interval), ("timeout", self.timeout)] {
            if duration.is_zero() {
                findings.reject(key, "a duration above zero");
            }
        }
        for (key, count) in [("unhealthy_after", self.unhealthy_after), ("healthy_after", self.healthy_after)]
        {
            if count == 0 {
                findings.reject(key, "at least 1");
            }
        }
    }
}

/// The results of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// In a row.
    good: AtomicU32,
    bad: AtomicU32,
}

impl Tally {
    /// Adds a result, and says what the results mean, if they mean something.
    pub(super) fn add(&self, good: bool, check: &Check) -> Option<bool> {
        let (same, other) = if good { (&self.good, &self.bad) } else { (&self.bad, &self.good) };
        other.store(0, Ordering::Relaxed);
        let row = same.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let wanted = if good { check.healthy_after } else { check.unhealthy_after };
        (row >= wanted).then_some(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_count_in_a_row() {
        let check = Check { healthy_after: 2, ..Check::default() };
        let tally = Tally::default();
        let said: Vec<_> =
            [false, false, true, false, false, false, true, true].map(|good| tally.add(good, &check)).into();
        assert_eq!(said, [None, None, None, None, None, Some(false), None, Some(true)]);
    }
}
