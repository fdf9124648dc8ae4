//! What is promised.

use std::{collections::BTreeMap, fmt};

use mainstay_core::{
    config::{Duration, Findings},
    metrics::SECONDS,
};
use serde::{Deserialize, Serialize};

const DAY: u64 = 24 * 3600;

/// How many of the requests have to go well, in a window that moves along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Slo {
    /// The share of requests that go well, in percent: at least 50, less than 100. No default.
    pub objective: f64,
    /// A request goes well if it is answered, to the last byte, within this time, which is a bound of the buckets
    /// ([`SECONDS`]); those that failed don't count. Default: none, a request goes well if the service did not fail.
    #[serde(default)]
    pub latency: Option<Duration>,
    /// Over how long, from 7 to 90 days. Default: 30 days.
    #[serde(default = "Slo::default_window")]
    pub window: Duration,
    /// Requests to this route only, as it is written in the router: `/orders/{id}`. Default: all.
    #[serde(default)]
    pub route: Option<String>,
    /// Requests with this HTTP method only. Default: all.
    #[serde(default)]
    pub method: Option<String>,
    /// Calls of this method of gRPC only: `package.Service/Method`. Default: all.
    #[serde(default)]
    pub rpc: Option<String>,
    /// Nobody is told for fewer failures than this in the longer window of an alert: where there is little traffic one
    /// failure is a large share of it. Default: 10.
    #[serde(default = "Slo::default_min_failures")]
    pub min_failures: u32,
}

/// The objectives of services: by service, and by the name of the objective.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slos(BTreeMap<String, BTreeMap<String, Slo>>);

/// An objective that can't be watched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("slo.{service}.{name}{}: {reason}", dotted(reason.field()))]
#[non_exhaustive]
pub struct Invalid {
    /// Whose.
    pub service: String,
    /// Which.
    pub name: String,
    /// Why.
    pub reason: Reason,
}

/// Why an objective can't be watched. It says what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The name is none.
    Name,
    /// The share is none that can be kept.
    Objective,
    /// The time is not a bound of the buckets.
    Latency,
    /// The window is too short or too long.
    Window,
    /// The route is none, or is there beside a method of gRPC.
    Route,
    /// It is no method of HTTP, or is there beside a method of gRPC.
    Method,
    /// It is no method of gRPC.
    Rpc,
    /// No failure at all would be waited for.
    MinFailures,
}

impl Slo {
    /// This share of the requests, in percent, does not fail by the service's fault: an HTTP status of 5xx, and the codes
    /// of gRPC that the conventions call a server's errors. Callers that hang up are no failure.
    #[must_use]
    pub fn availability(percent: f64) -> Self {
        Self {
            objective: percent,
            latency: None,
            window: Self::default_window(),
            route: None,
            method: None,
            rpc: None,
            min_failures: Self::default_min_failures(),
        }
    }

    /// This share of the requests that don't fail, in percent, is answered within `threshold`.
    #[must_use]
    pub fn latency(percent: f64, threshold: std::time::Duration) -> Self {
        Self { latency: Some(threshold.into()), ..Self::availability(percent) }
    }

    /// Of this route, as it is written in the router.
    #[must_use]
    pub fn with_route(mut self, route: impl Into<String>) -> Self {
        self.route = Some(route.into());
        self
    }

    /// Of this HTTP method.
    #[must_use]
    pub fn with_method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Of this method of gRPC: `package.Service/Method`.
    #[must_use]
    pub fn with_rpc(mut self, method: impl Into<String>) -> Self {
        self.rpc = Some(method.into());
        self
    }

    /// Over this time.
    #[must_use]
    pub fn with_window(mut self, window: std::time::Duration) -> Self {
        self.window = window.into();
        self
    }

    /// From so many failures on.
    #[must_use]
    pub fn with_min_failures(mut self, failures: u32) -> Self {
        self.min_failures = failures;
        self
    }

    /// The share that may fail, from 0 to 1.
    #[must_use]
    pub fn budget(&self) -> f64 {
        // 100 - 99.9 is not 0.1 in binary: what people read is rounded to what they wrote.
        ((100.0 - self.objective) * 1e8).round() / 1e10
    }

    fn default_window() -> Duration {
        Duration::from_secs(30 * DAY)
    }

    fn default_min_failures() -> u32 {
        10
    }

    fn check(&self) -> Vec<Reason> {
        let mut found = Vec::new();
        let mut want = |holds: bool, reason| {
            if !holds {
                found.push(reason);
            }
        };
        let is_share = (50.0..100.0).contains(&self.objective) && self.budget() > 0.0;
        want(is_share, Reason::Objective);
        want(self.latency.is_none_or(|latency| bound(latency).is_some()), Reason::Latency);
        let days = Duration::from_secs(7 * DAY)..=Duration::from_secs(90 * DAY);
        want(days.contains(&self.window), Reason::Window);
        let is_http = self.rpc.is_none();
        let is_route = |route: &String| is_http && route.starts_with('/');
        want(self.route.as_ref().is_none_or(is_route), Reason::Route);
        let is_method = |method: &String| is_http && METHODS.contains(&method.as_str());
        want(self.method.as_ref().is_none_or(is_method), Reason::Method);
        want(self.rpc.as_deref().is_none_or(is_rpc), Reason::Rpc);
        want(self.min_failures > 0, Reason::MinFailures);
        found
    }
}

impl Slos {
    /// With this one too; one of the same name gives way.
    #[must_use]
    pub fn with(mut self, service: impl Into<String>, name: impl Into<String>, slo: Slo) -> Self {
        self.0.entry(service.into()).or_default().insert(name.into(), slo);
        self
    }

    /// With those of `other` too, before which those of the same name give way.
    #[must_use]
    pub fn overlaid(mut self, other: &Self) -> Self {
        for (service, slos) in &other.0 {
            self.0.entry(service.clone()).or_default().extend(slos.clone());
        }
        self
    }

    /// Those of these services only, of which each is there, if without an objective.
    #[must_use]
    pub fn of<'a>(mut self, services: impl IntoIterator<Item = &'a str>) -> Self {
        let of = |service: &str| (service.to_owned(), self.0.remove(service).unwrap_or_default());
        Self(services.into_iter().map(of).collect())
    }

    /// The objectives by service, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, Slo>)> {
        self.0.iter().map(|(service, slos)| (service.as_str(), slos))
    }

    /// Whether all of them can be watched.
    ///
    /// # Errors
    /// [`Invalid`] names the first that can't, and what was expected.
    pub fn check(&self) -> Result<(), Invalid> {
        match self.invalid().next() {
            Some(invalid) => Err(invalid),
            None => Ok(()),
        }
    }

    /// Refuses what can't be watched of `[slo]`.
    pub fn find(&self, findings: &mut Findings) {
        for Invalid { service, name, reason } in self.invalid() {
            findings.within(&service, |findings| {
                findings.within(&name, |findings| findings.reject(reason.field(), reason.to_string()));
            });
        }
    }

    fn invalid(&self) -> impl Iterator<Item = Invalid> {
        let all = self
            .0
            .iter()
            .flat_map(|(service, slos)| slos.iter().map(move |(name, slo)| (service, name, slo)));
        all.flat_map(|(service, name, slo)| {
            let mut reasons = slo.check();
            if !is_name(name) {
                reasons.push(Reason::Name);
            }
            reasons.into_iter().map(|reason| Invalid { service: service.clone(), name: name.clone(), reason })
        })
    }
}

impl Reason {
    /// The key that is wrong; empty: the objective's own.
    fn field(&self) -> &'static str {
        match self {
            Self::Name => "",
            Self::Objective => "objective",
            Self::Latency => "latency",
            Self::Window => "window",
            Self::Route => "route",
            Self::Method => "method",
            Self::Rpc => "rpc",
            Self::MinFailures => "min_failures",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str(
                "the name of an objective is lower-case letters, digits and hyphens, a letter first, at most 63 in all",
            ),
            Self::Objective => f.write_str("percent, at least 50 and less than 100, such as 99.9"),
            Self::Latency => {
                f.write_str("a bound of the buckets that durations are counted in, one of ")?;
                for (index, seconds) in SECONDS.iter().enumerate() {
                    let between = if index == 0 { "" } else { ", " };
                    write!(f, "{between}{}", Duration::from_millis((seconds * 1000.0).round() as u64))?;
                }
                Ok(())
            }
            Self::Window => f.write_str("from 7d to 90d"),
            Self::Route => f.write_str("a route as the router has it, such as `/orders/{id}`, and none beside `rpc`"),
            Self::Method => write!(f, "one of {}, and none beside `rpc`", METHODS.join(", ")),
            Self::Rpc => f.write_str("a method with its service, such as `shop.Inventory/Reserve`"),
            Self::MinFailures => f.write_str("at least 1"),
        }
    }
}

/// Those that are told apart; others are counted as `_OTHER`.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The bound of the buckets that a time is, in seconds.
pub(super) fn bound(latency: Duration) -> Option<f64> {
    let seconds = latency.get().as_secs_f64();
    SECONDS.into_iter().find(|bound| (bound - seconds).abs() < 1e-9)
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 63 && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(fits)
}

fn is_rpc(method: &str) -> bool {
    let fits = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
    };
    method.split_once('/').is_some_and(|(service, method)| fits(service) && fits(method))
}

fn dotted(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!(".{field}") }
}
