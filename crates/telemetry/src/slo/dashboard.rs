//! A page of Grafana: one service, or several, from what users notice down to the runtime. The variables are `datasource`
//! and `service`.

use mainstay_core::config::Duration;
use serde_json::{Value, json};

use super::burn::series;

/// A panel: its title, its unit as Grafana calls it, and its queries with what each series is called.
type Panel = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Rows of panels. What is known of a process only is joined with what tells which services are in it.
const ROWS: [(&str, &[Panel]); 6] = [
    (
        "Rate",
        &[
            (
                "Requests by route",
                "reqps",
                &[(
                    r#"sum by (service_name, http_request_method, http_route) (rate(http_server_request_duration_seconds_count{service_name=~"$service"}[$__rate_interval]))"#,
                    "{{service_name}} {{http_request_method}} {{http_route}}",
                )],
            ),
            (
                "Requests by status",
                "reqps",
                &[(
                    r#"sum by (http_response_status_code) (rate(http_server_request_duration_seconds_count{service_name=~"$service"}[$__rate_interval]))"#,
                    "{{http_response_status_code}}",
                )],
            ),
            (
                "gRPC calls by method",
                "reqps",
                &[(
                    r#"sum by (service_name, rpc_method) (rate(rpc_server_call_duration_seconds_count{service_name=~"$service"}[$__rate_interval]))"#,
                    "{{service_name}} {{rpc_method}}",
                )],
            ),
        ],
    ),
    (
        "Errors",
        &[
            (
                "Requests that failed, as a share",
                "percentunit",
                &[(
                    r#"(sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name=~"$service",error_type!="",error_type!="cancelled"}[$__rate_interval])) or 0 * sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name=~"$service"}[$__rate_interval]))) / sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name=~"$service"}[$__rate_interval]))"#,
                    "{{service_name}}",
                )],
            ),
            (
                "Requests without a good end, by route and why",
                "reqps",
                &[(
                    r#"sum by (service_name, http_route, error_type) (rate(http_server_request_duration_seconds_count{service_name=~"$service",error_type!=""}[$__rate_interval]))"#,
                    "{{service_name}} {{http_route}} {{error_type}}",
                )],
            ),
            (
                "gRPC calls by method and code",
                "reqps",
                &[(
                    r#"sum by (service_name, rpc_method, rpc_response_status_code) (rate(rpc_server_call_duration_seconds_count{service_name=~"$service"}[$__rate_interval]))"#,
                    "{{service_name}} {{rpc_method}} {{rpc_response_status_code}}",
                )],
            ),
        ],
    ),
    (
        "Duration",
        &[
            (
                "Requests, to the last byte",
                "s",
                &[
                    (
                        r#"histogram_quantile(0.5, sum by (le, service_name) (rate(http_server_request_duration_seconds_bucket{service_name=~"$service"}[$__rate_interval])))"#,
                        "{{service_name}} p50",
                    ),
                    (
                        r#"histogram_quantile(0.95, sum by (le, service_name) (rate(http_server_request_duration_seconds_bucket{service_name=~"$service"}[$__rate_interval])))"#,
                        "{{service_name}} p95",
                    ),
                    (
                        r#"histogram_quantile(0.99, sum by (le, service_name) (rate(http_server_request_duration_seconds_bucket{service_name=~"$service"}[$__rate_interval])))"#,
                        "{{service_name}} p99",
                    ),
                ],
            ),
            (
                "95 % of requests, by route",
                "s",
                &[(
                    r#"histogram_quantile(0.95, sum by (le, service_name, http_route) (rate(http_server_request_duration_seconds_bucket{service_name=~"$service"}[$__rate_interval])))"#,
                    "{{service_name}} {{http_route}}",
                )],
            ),
            (
                "95 % of gRPC calls, by method",
                "s",
                &[(
                    r#"histogram_quantile(0.95, sum by (le, service_name, rpc_method) (rate(rpc_server_call_duration_seconds_bucket{service_name=~"$service"}[$__rate_interval])))"#,
                    "{{service_name}} {{rpc_method}}",
                )],
            ),
        ],
    ),
    (
        "Saturation",
        &[
            (
                "Requests in flight",
                "short",
                &[
                    (
                        r#"sum by (service_name) (http_server_active_requests{service_name=~"$service"})"#,
                        "{{service_name}}",
                    ),
                    (
                        r#"sum by (service_name) (mainstay_shed_limit{service_name=~"$service"})"#,
                        "{{service_name}}, admitted at most",
                    ),
                ],
            ),
            (
                "Requests shed, by criticality",
                "reqps",
                &[(
                    r#"sum by (service_name, criticality) (rate(mainstay_shed_refused_total{service_name=~"$service"}[$__rate_interval]))"#,
                    "{{service_name}} {{criticality}}",
                )],
            ),
            (
                "Connections",
                "short",
                &[(
                    r#"sum by (listener) (mainstay_server_connections and on (job, instance) mainstay_shed_limit{service_name=~"$service"})"#,
                    "{{listener}}",
                )],
            ),
            (
                "Refused and given up by the server",
                "cps",
                &[(
                    r#"sum by (reason) (rate(mainstay_server_failures_total[$__rate_interval]) and on (job, instance) mainstay_shed_limit{service_name=~"$service"})"#,
                    "{{reason}}",
                )],
            ),
        ],
    ),
    (
        "Dependencies",
        &[
            (
                "Attempts, by who calls whom",
                "reqps",
                &[(
                    r#"sum by (service_name, server_address) (rate(http_client_request_duration_seconds_count{service_name=~"$service"}[$__rate_interval]))"#,
                    "{{service_name}} to {{server_address}}",
                )],
            ),
            (
                "Attempts that failed, and why",
                "reqps",
                &[(
                    r#"sum by (service_name, server_address, error_type) (rate(http_client_request_duration_seconds_count{service_name=~"$service",error_type!=""}[$__rate_interval]))"#,
                    "{{service_name}} to {{server_address}}: {{error_type}}",
                )],
            ),
            (
                "95 % of attempts",
                "s",
                &[
                    (
                        r#"histogram_quantile(0.95, sum by (le, service_name, server_address) (rate(http_client_request_duration_seconds_bucket{service_name=~"$service"}[$__rate_interval])))"#,
                        "{{service_name}} to {{server_address}}",
                    ),
                    (
                        r#"histogram_quantile(0.95, sum by (le, service_name, rpc_method) (rate(rpc_client_call_duration_seconds_bucket{service_name=~"$service"}[$__rate_interval])))"#,
                        "{{service_name}} to {{rpc_method}}",
                    ),
                ],
            ),
            (
                "Endpoints, by state",
                "short",
                &[(
                    r#"sum by (peer_service, state) (mainstay_client_endpoints and on (job, instance) mainstay_shed_limit{service_name=~"$service"})"#,
                    "{{peer_service}} {{state}}",
                )],
            ),
            (
                "Attempts besides the first",
                "cps",
                &[
                    (
                        r#"sum by (peer_service, reason) (rate(mainstay_client_extra_attempts_total[$__rate_interval]) and on (job, instance) mainstay_shed_limit{service_name=~"$service"})"#,
                        "{{peer_service}} {{reason}}",
                    ),
                    (
                        r#"sum by (peer_service) (rate(mainstay_client_budget_exhausted_total[$__rate_interval]) and on (job, instance) mainstay_shed_limit{service_name=~"$service"})"#,
                        "{{peer_service}}, not made for want of budget",
                    ),
                ],
            ),
            (
                "Breakers that are open",
                "short",
                &[(
                    r#"sum by (peer_service) (mainstay_client_breaker_open and on (job, instance) mainstay_shed_limit{service_name=~"$service"})"#,
                    "{{peer_service}}",
                )],
            ),
            (
                "Checks that pass",
                "short",
                &[(
                    r#"min by (instance, check) (mainstay_health_check and on (job, instance) mainstay_shed_limit{service_name=~"$service"})"#,
                    "{{instance}} {{check}}",
                )],
            ),
        ],
    ),
    (
        "Process and runtime",
        &[
            (
                "Processors used",
                "short",
                &[(
                    r#"sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]) and on (job, instance) mainstay_shed_limit{service_name=~"$service"})"#,
                    "{{instance}}",
                )],
            ),
            (
                "Memory",
                "bytes",
                &[(
                    r#"process_resident_memory_bytes and on (job, instance) mainstay_shed_limit{service_name=~"$service"}"#,
                    "{{instance}}",
                )],
            ),
            (
                "Open file descriptors",
                "percentunit",
                &[(
                    r#"process_open_fds / process_max_fds and on (job, instance) mainstay_shed_limit{service_name=~"$service"}"#,
                    "{{instance}}",
                )],
            ),
            (
                "Workers of the runtime that are busy",
                "percentunit",
                &[(
                    r#"sum by (instance) (rate(tokio_runtime_busy_time_seconds_total[$__rate_interval]) and on (job, instance) mainstay_shed_limit{service_name=~"$service"}) / sum by (instance) (tokio_runtime_workers)"#,
                    "{{instance}}",
                )],
            ),
            (
                "Tasks",
                "short",
                &[
                    (
                        r#"tokio_runtime_alive_tasks and on (job, instance) mainstay_shed_limit{service_name=~"$service"}"#,
                        "{{instance}}",
                    ),
                    (
                        r#"tokio_runtime_global_queue and on (job, instance) mainstay_shed_limit{service_name=~"$service"}"#,
                        "{{instance}}, in the queue",
                    ),
                ],
            ),
            (
                "Panics",
                "short",
                &[(
                    r#"increase(mainstay_panics_total[$__rate_interval]) and on (job, instance) mainstay_shed_limit{service_name=~"$service"}"#,
                    "{{instance}}",
                )],
            ),
        ],
    ),
];

/// The window that burn rates are shown for.
const HOUR: Duration = Duration::from_secs(3600);

/// What the variable `service` can be.
const SERVICES: &str = "label_values(mainstay_shed_limit, service_name)";

/// The rows, with those of the budgets first.
fn rows() -> Vec<(String, Vec<Described>)> {
    let ratio = series("error_ratio", HOUR);
    let budgets = vec![
        described(
            "Error budget that is left",
            "percentunit",
            [(
                r#"slo:error_budget_remaining:ratio{service_name=~"$service"}"#.to_owned(),
                "{{service_name}} {{slo}}".to_owned(),
            )],
        ),
        described(
            "Burn rate over an hour; at 1 the budget lasts as long as its window",
            "short",
            [(
                format!(
                    r#"{ratio}{{service_name=~"$service"}} / on (service_name, slo) slo:error_budget:ratio"#
                ),
                "{{service_name}} {{slo}}".to_owned(),
            )],
        ),
    ];
    let rest = ROWS.into_iter().map(|(title, panels)| {
        let panels = panels.iter().map(|(title, unit, queries)| {
            let owned = queries.iter().map(|(query, legend)| ((*query).to_owned(), (*legend).to_owned()));
            described(title, unit, owned)
        });
        (title.to_owned(), panels.collect())
    });
    [("Objectives".to_owned(), budgets)].into_iter().chain(rest).collect()
}

struct Described {
    title: String,
    unit: String,
    queries: Vec<(String, String)>,
}

fn described(title: &str, unit: &str, queries: impl IntoIterator<Item = (String, String)>) -> Described {
    Described { title: title.to_owned(), unit: unit.to_owned(), queries: queries.into_iter().collect() }
}

/// Every query of it.
pub(super) fn queries() -> Vec<String> {
    let panels = rows().into_iter().flat_map(|(_, panels)| panels);
    panels.flat_map(|panel| panel.queries).map(|(query, _)| query).collect()
}

/// The page as Grafana imports it, in the form of version 10.
pub(super) fn dashboard() -> Value {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let mut panels = Vec::new();
    let mut y = 0;
    for (title, described) in rows() {
        let id = panels.len() + 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        }));
        y += 1;
        let (width, lines) = (24 / described.len().min(3), described.len().div_ceil(3));
        for (index, Described { title, unit, queries }) in described.into_iter().enumerate() {
            let (row, column) = (index / 3, index % 3);
            let targets = queries.iter().enumerate().map(|(index, (query, legend))| {
                let reference = char::from(b'A' + u8::try_from(index).unwrap_or_default());
                json!({"refId": reference.to_string(), "datasource": source, "expr": query, "legendFormat": legend})
            });
            panels.push(json!({
                "id": panels.len() + 1, "type": "timeseries", "title": title, "datasource": source,
                "gridPos": {"x": column * width, "y": y + row * 8, "w": width, "h": 8},
                "fieldConfig": {"defaults": {"unit": unit, "custom": {"fillOpacity": 10}}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
                "targets": targets.collect::<Vec<_>>(),
            }));
        }
        y += 8 * lines;
    }
    json!({
        "uid": "mainstay-service",
        "title": "Services",
        "tags": ["mainstay"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus", "refresh": 1},
            {
                "name": "service", "label": "Service", "type": "query", "datasource": source,
                "definition": SERVICES, "query": {"query": SERVICES, "refId": "services"},
                "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
                "current": {"text": "All", "value": "$__all"},
            },
        ]},
        "panels": panels,
    })
}
