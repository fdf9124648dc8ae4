//! The queries that count the requests of an objective and those that went wrong, from the names that
//! `mainstay_core::observe` measures with.

use std::fmt::Write as _;

use mainstay_core::{config::Duration, metrics::Kind, observe::names};

use super::objective::{Slo, bound};
use crate::metrics::{label_name, le, prometheus_name};

/// Requests a second, and failures a second, over a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) requests: String,
    pub(super) failures: String,
}

/// The service's fault: neither fine nor the caller that hung up.
const FAILED: [(&str, &str, &str); 2] =
    [(names::ERROR_TYPE, "!=", ""), (names::ERROR_TYPE, "!=", "cancelled")];
/// Everything else.
const ANSWERED: (&str, &str, &str) = (names::ERROR_TYPE, "=~", "|cancelled");

impl Slo {
    /// Of `service`, over `window`.
    pub(super) fn rates(&self, service: &str, window: Duration) -> Rates {
        let (metric, own) = self.place(service);
        let rate = |metric: &str, more: &[(&str, &str, &str)]| {
            let matchers: Vec<_> = own.iter().chain(more).copied().collect();
            format!("sum(rate({}[{window}]))", select(metric, &matchers))
        };
        let (count, bucket) = (format!("{metric}_count"), format!("{metric}_bucket"));
        if let Some(seconds) = self.latency.and_then(bound) {
            let within = le(seconds);
            let requests = rate(&count, &[ANSWERED]);
            let failures = format!("{requests}\n- {}", rate(&bucket, &[ANSWERED, ("le", "=", &within)]));
            return Rates { requests, failures };
        }
        // A series of failures is there from the first of them on.
        let mut failures = format!("({} or vector(0))", rate(&count, &FAILED));
        if self.is_whole() {
            // gRPC says in its own metric that a call failed: its HTTP status is 200 all the same.
            let service = [(names::SERVICE, "=", service), FAILED[0], FAILED[1]];
            let calls = select(&format!("{}_count", seconds(names::CALL_DURATION)), &service);
            let _ = write!(failures, "\n+ (sum(rate({calls}[{window}])) or vector(0))");
        }
        Rates { requests: rate(&count, &[]), failures }
    }

    /// The histogram in which its requests are, and which they are there.
    pub(super) fn place<'a>(&'a self, service: &'a str) -> (String, Vec<(&'a str, &'a str, &'a str)>) {
        let mut matchers = vec![(names::SERVICE, "=", service)];
        if let Some(rpc) = &self.rpc {
            matchers.push((names::RPC_METHOD, "=", rpc));
            return (seconds(names::CALL_DURATION), matchers);
        }
        matchers.extend(self.method.as_deref().map(|method| (names::METHOD, "=", method)));
        matchers.extend(self.route.as_deref().map(|route| (names::ROUTE, "=", route)));
        (seconds(names::REQUEST_DURATION), matchers)
    }

    fn is_whole(&self) -> bool {
        self.rpc.is_none() && self.route.is_none() && self.method.is_none()
    }
}

/// A selector, with labels by the names of OpenTelemetry.
pub(super) fn select(metric: &str, matchers: &[(&str, &str, &str)]) -> String {
    let mut text = format!("{metric}{{");
    for (index, (label, operator, value)) in matchers.iter().enumerate() {
        let between = if index == 0 { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // Writing to a string can't fail.
        let _ = write!(text, "{between}{}{operator}\"{value}\"", label_name(label));
    }
    text.push('}');
    text
}

fn seconds(name: &str) -> String {
    prometheus_name(name, "s", Kind::Histogram)
}
