//! Where alerts go: an example to begin with.

/// Routes by severity, with receivers to put one's own in the place of.
pub(super) const CONFIG: &str = r#"# For Alertmanager: `severity` says who is told. Put your own receivers in the place of the two.
route:
  receiver: tickets
  group_by: [alertname, service_name, slo]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 1d
  routes:
    - matchers: ['severity = "page"']
      receiver: pager
      group_wait: 10s
      repeat_interval: 1h

inhibit_rules:
  # Who is paged for a budget needs no ticket for it too.
  - source_matchers: ['alertname = "SloErrorBudgetBurn"', 'severity = "page"']
    target_matchers: ['alertname = "SloErrorBudgetBurn"', 'severity = "ticket"']
    equal: [service_name, slo]
  # Of a service that is gone, its processes tell nothing new.
  - source_matchers: ['alertname = "ServiceGone"']
    target_matchers: ['alertname = "SloWithoutRequests"']
    equal: [service_name]

receivers:
  - name: pager
    webhook_configs:
      - url: "http://127.0.0.1:9095/page"
  - name: tickets
    webhook_configs:
      - url: "http://127.0.0.1:9095/ticket"
"#;
