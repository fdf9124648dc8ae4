//! Alerts that every service wants, whatever it promises. Pain of users is what objectives tell of; these tell of causes,
//! so they can wait, but for a service of which nothing is left.

use mainstay_core::config::Duration;

use super::{
    query::select,
    rules::{Alert, Group, Rule, Severity},
};

/// An alert, and what its test shows it.
pub(super) struct General {
    pub(super) alert: Alert,
    /// Series and their values, a minute each.
    pub(super) shown: Vec<(String, String)>,
    /// The labels that the alert then has, besides its own.
    pub(super) told_of: Vec<(&'static str, String)>,
}

pub(super) const GONE: &str = "ServiceGone";

/// Of all processes that Prometheus scrapes; what one of them doesn't measure can't be wrong there.
pub(super) fn all() -> Vec<General> {
    vec![
        process(
            "ProcessNotReady",
            "mainstay_health_ready == 0",
            5,
            "{{ $labels.instance }} gets no traffic",
            "`/readyz` has said no for 5 minutes; `/readyz?verbose` tells which check fails.",
            &[("mainstay_health_ready", "", "0x30")],
            &[],
        ),
        process(
            "ProcessDown",
            "up == 0 and on (job, instance) max_over_time(mainstay_health_ready[1d])",
            5,
            "{{ $labels.instance }} can't be scraped",
            "It could be within the last day. Has it ended, or is its admin listener out of reach?",
            &[("up", "", "1x2 0x30"), ("mainstay_health_ready", "", "1x2 stale")],
            &[],
        ),
        process(
            "HandlerPanics",
            "increase(mainstay_panics_total[15m]) > 0",
            0,
            "handlers of {{ $labels.instance }} panic",
            "A request each was answered with 500. The log has the place, and the trace.",
            &[("mainstay_panics_total", "", "0x10 1x20")],
            &[],
        ),
        process(
            "RequestsShed",
            "sum by (job, instance, service_name) (rate(mainstay_shed_refused_total[5m])) > 0",
            5,
            "{{ $labels.service_name }} refuses requests on {{ $labels.instance }}",
            "It has had more than it can do for 5 minutes: callers get 503 with Retry-After.",
            &[("mainstay_shed_refused_total", r#",service_name="orders",criticality="critical""#, "0+6x30")],
            &[("service_name", "orders")],
        ),
        process(
            "BreakerOpen",
            "mainstay_client_breaker_open == 1",
            5,
            "{{ $labels.instance }} does not call {{ $labels.peer_service }} any more",
            "Most calls to it failed, and probes still do.",
            &[("mainstay_client_breaker_open", r#",peer_service="payments""#, "1x30")],
            &[("peer_service", "payments")],
        ),
        process(
            "TelemetryDropped",
            "sum by (job, instance, reason) (increase(mainstay_telemetry_spans_dropped_total[15m])) > 0",
            0,
            "{{ $labels.instance }} loses spans",
            "Recorded and not delivered: {{ $labels.reason }}.",
            &[("mainstay_telemetry_spans_dropped_total", r#",reason="queue_full""#, "0x10 7x20")],
            &[("reason", "queue_full")],
        ),
        process(
            "FileDescriptorsLow",
            "process_open_fds / process_max_fds > 0.8 and on (job, instance) mainstay_health_ready",
            15,
            "{{ $labels.instance }} has few file descriptors left",
            "{{ $value | humanizePercentage }} of them are open. Without one it accepts no connection.",
            &[
                ("process_open_fds", "", "900x30"),
                ("process_max_fds", "", "1000x30"),
                ("mainstay_health_ready", "", "1x30"),
            ],
            &[],
        ),
    ]
}

/// Where one service is concerned.
pub(super) fn gone(service: &str) -> Alert {
    Alert {
        name: GONE,
        expression: format!("absent({})", select("mainstay_shed_limit", &[("service.name", "=", service)])),
        pending: Some(Duration::from_secs(300)),
        severity: Severity::Page,
        labels: vec![("service_name".to_owned(), service.to_owned())],
        summary: format!("nothing is known of {service}"),
        description:
            "No process of it was scraped for 5 minutes: none runs, or Prometheus does not find them."
                .to_owned(),
    }
}

pub(super) fn group(name: &str) -> Group {
    let rules = all().into_iter().map(|general| Rule::Alert(general.alert)).collect();
    Group { name: name.to_owned(), interval: None, rules }
}

/// The place of the process in a test.
pub(super) const TARGET: [(&str, &str); 2] = [("job", "shop"), ("instance", "10.0.0.1:9090")];

fn process(
    name: &'static str,
    expression: &str,
    minutes: u64,
    summary: &str,
    description: &str,
    shown: &[(&str, &str, &str)],
    more: &[(&'static str, &str)],
) -> General {
    let [(job, own_job), (instance, own_instance)] = TARGET;
    let series = |metric: &str, labels: &str| {
        format!(r#"{metric}{{{job}="{own_job}",{instance}="{own_instance}"{labels}}}"#)
    };
    let alert = Alert {
        name,
        expression: expression.to_owned(),
        pending: (minutes > 0).then(|| Duration::from_secs(minutes * 60)),
        severity: Severity::Ticket,
        labels: Vec::new(),
        summary: summary.to_owned(),
        description: description.to_owned(),
    };
    General {
        alert,
        shown: shown
            .iter()
            .map(|(metric, labels, values)| (series(metric, labels), (*values).to_owned()))
            .collect(),
        told_of: TARGET.iter().chain(more).map(|(label, value)| (*label, (*value).to_owned())).collect(),
    }
}
