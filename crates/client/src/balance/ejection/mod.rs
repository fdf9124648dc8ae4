//! When an endpoint that answers is taken out of the choice all the same, because it does so badly.
//!
//! Three detectors, as in Envoy's outlier detection and gRFC A50: failures in a row, a success rate far below that of
//! the others, a latency far above that of the others. Each ejection of the same endpoint lasts twice as long as the one
//! before, until it has behaved for a while; when it is over, one request probes it. At most a share of the endpoints is
//! ejected, so that a fault which all have takes none of them out.
//!
//! **When not to use it.** Where there is one endpoint: that is never ejected, and a [breaker](crate::breaker) may be meant.
//!
//! **Where it stands.** In the choice of an endpoint, since endpoints are compared: it is no layer of its own.
//! [`Balance`](super::Balance) is that choice as a service of tower, with what an answer means said by its user:
//!
//! ```
//! use mainstay_client::balance::{Balance, Config, Origin, Picker, Verdict, ejection};
//! use mainstay_discovery::{Endpoint, watch::Publisher};
//! use tower::{Service as _, ServiceExt as _, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let publisher = Publisher::new();
//! publisher.publish([Endpoint::tcp("well", 80), Endpoint::tcp("broken", 80)]);
//! let mut after_three = ejection::Config::default();
//! after_three.consecutive_failures = 3;
//! let picker = Picker::new(publisher.watch(), Origin::default(), Config::default(), after_three);
//!
//! let connect = service_fn(async |endpoint: Endpoint| {
//!     let status = if endpoint.address().to_string().starts_with("broken") { 500 } else { 200 };
//!     Ok::<_, std::io::Error>(service_fn(move |(): ()| std::future::ready(Ok::<u16, std::io::Error>(status))))
//! });
//! let judge = |outcome: &std::io::Result<u16>| match outcome {
//!     Ok(status) if *status < 500 => Verdict::Good,
//!     Ok(_) => Verdict::Bad,
//!     Err(_) => Verdict::Lost,
//! };
//! let mut balance = Balance::new(picker, connect, judge);
//! let mut failed = 0;
//! for _ in 0..50 {
//!     failed += u32::from(balance.ready().await?.call(()).await? == 500);
//! }
//! assert!(failed <= 3);
//! # Ok(()) }
//! ```
//!
//! **On drop.** A request that is dropped says nothing about its endpoint, save that it took at least so long.

mod sweep;

use http::{HeaderMap, StatusCode};
use mainstay_core::config::{Duration, Findings, Section};

pub(crate) use sweep::{Window, sweep};

use crate::{
    config::layered::layered,
    retry::{Code, answer::grpc_code},
};

layered! {
    /// The table `client.ejection`: when an endpoint that fails gets no requests for a while.
    ///
    /// An endpoint that can't be reached, or breaks connections, is passed over whatever stands here: for 50 ms,
    /// doubled with each failure in a row up to 5 s.
    values {
        /// So many failures in a row eject an endpoint: answers that count as failures, and requests that it had not
        /// answered when their deadline passed. 0 turns this off. Default 5.
        consecutive_failures: u32 = 5,
        /// Statuses that count as failures, from 100 to 999. Default 500, 502, 503, 504.
        statuses: Vec<u16> = vec![500, 502, 503, 504],
        /// gRPC codes that count as failures. Default `unknown`, `internal`, `unavailable`.
        codes: Vec<Code> = vec![Code::Unknown, Code::Internal, Code::Unavailable],
        /// How often the endpoints are compared with each other. Default `10s`.
        interval: Duration = Duration::from_secs(10),
        /// Compared are only endpoints that had so many requests in the interval. Default 100.
        min_requests: u32 = 100,
        /// And only if there are so many of these. Default 5.
        min_endpoints: usize = 5,
        /// An endpoint whose share of successes is so many standard deviations below the mean is ejected; 0 turns this
        /// off. Default 1.9, as in Envoy.
        success_rate_deviations: f64 = 1.9,
        /// An endpoint whose mean latency is more than so many times the median of all is ejected; 0 turns this off.
        /// Default 10.
        latency_factor: f64 = 10.0,
        /// The share of the endpoints that may be ejected at a time, between 0 and 1; where there are several, one always
        /// may. Default 0.3.
        max_ejected: f64 = 0.3,
        /// How long the first ejection lasts; doubled each time. Default `5s`.
        time: Duration = Duration::from_secs(5),
        /// And the longest. Default `5m`.
        max_time: Duration = Duration::from_secs(300),
        /// How long an endpoint is passed over at most for its own `Retry-After` or gRPC pushback. Default `30s`.
        max_pushback: Duration = Duration::from_secs(30),
    }
}

/// Why an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// Failures in a row; the last one was an answer.
    Answers,
    /// Failures in a row; the last one was a request without an answer at its deadline.
    NoAnswer,
    /// A share of successes far below that of the others.
    SuccessRate,
    /// A latency far above that of the others.
    Latency,
}

impl Config {
    /// Whether an answer with this head counts as a success.
    pub(crate) fn is_good(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if self.statuses.contains(&status.as_u16()) {
            return false;
        }
        grpc_code(headers).is_none_or(|code| !self.is_bad_code(code))
    }

    /// Whether this code of gRPC counts as a failure.
    pub(crate) fn is_bad_code(&self, code: u8) -> bool {
        self.codes.iter().any(|listed| listed.number() == code)
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        let durations = [("interval", self.interval), ("time", self.time)];
        for (key, _) in durations.into_iter().filter(|(_, duration)| duration.is_zero()) {
            findings.reject(key, "a duration above zero");
        }
        if self.max_time < self.time {
            findings.reject("max_time", format_args!("at least `time` ({})", self.time));
        }
        if !(0.0..=1.0).contains(&self.max_ejected) {
            findings.reject("max_ejected", "a share between 0 and 1");
        }
        if self.success_rate_deviations.is_nan() || self.success_rate_deviations < 0.0 {
            findings.reject("success_rate_deviations", "0 or more; 0 turns it off");
        }
        if !(self.latency_factor == 0.0 || self.latency_factor > 1.0) {
            findings.reject("latency_factor", "0, which turns it off, or more than 1");
        }
        if self.min_endpoints < 2 {
            findings.reject("min_endpoints", "at least 2: one alone can't be compared");
        }
        if self.statuses.iter().any(|status| !(100..=999).contains(status)) {
            findings.reject("statuses", "statuses from 100 to 999");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_a_failure_is_configured() {
        let mut config = Config::default();
        let none = HeaderMap::new();
        let status = |code| StatusCode::from_u16(code).unwrap();
        assert!(config.is_good(status(200), &none) && config.is_good(status(404), &none));
        assert!(config.is_good(status(501), &none), "it is the request that is not implemented");
        assert!(!config.is_good(status(503), &none));
        config.statuses = vec![429];
        assert!(config.is_good(status(503), &none) && !config.is_good(status(429), &none));

        for (code, good) in
            [("0", true), ("5", true), ("14", false), ("013", false), ("x", false), ("", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", code.parse().unwrap());
            assert_eq!(config.is_good(status(200), &headers), good, "{code}");
        }
    }
}
