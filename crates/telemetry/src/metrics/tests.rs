use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use http::{HeaderMap, HeaderValue};
use mainstay_core::{
    context::TraceContext,
    metrics::{Definition, Kind, Registry},
};

use super::*;
use crate::resource::Resource;

fn registry() -> Registry {
    let registry = Registry::new();
    let placed = Definition::new("shop.orders.placed", "{order}", "Orders \\ that were \"placed\"\nor not");
    registry.counter(placed, ["payment.kind"]).unwrap().with(["card \"x\"\n\\"]).add(3);
    let spread = Definition::new("http.server.request.duration", "s", "How long").with_bounds([0.1, 1.0]);
    let spread = registry.histogram(spread, ["http.route"]).unwrap().with(["/orders/{id}"]);
    spread.record(0.05);
    let trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
    spread.record_in(7.5, trace.trace_id(), trace.parent().unwrap());
    registry.gauge(Definition::new("queue.fill", "1", "How full"), []).unwrap().only().set(0.25);
    registry
}

fn resource() -> Resource {
    Resource::default().with("service.name", "orders").with("service.version", "")
}

#[test]
fn prometheus_text_is_as_it_was_agreed() {
    assert_eq!(
        prometheus(&registry().read(), &resource()),
        r#"# HELP target_info What this process is.
# TYPE target_info gauge
target_info{service_name="orders"} 1
# HELP http_server_request_duration_seconds How long
# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_bucket{http_route="/orders/{id}",le="0.1"} 1
http_server_request_duration_seconds_bucket{http_route="/orders/{id}",le="1.0"} 1
http_server_request_duration_seconds_bucket{http_route="/orders/{id}",le="+Inf"} 2
http_server_request_duration_seconds_sum{http_route="/orders/{id}"} 7.55
http_server_request_duration_seconds_count{http_route="/orders/{id}"} 2
# HELP queue_fill_ratio How full
# TYPE queue_fill_ratio gauge
queue_fill_ratio 0.25
# HELP shop_orders_placed_total Orders \\ that were "placed"\nor not
# TYPE shop_orders_placed_total counter
shop_orders_placed_total{payment_kind="card \"x\"\n\\"} 3
"#
    );
}

#[test]
fn openmetrics_has_units_exemplars_and_an_end() {
    let text = openmetrics(&registry().read(), &resource());
    let exemplar = text.lines().find(|line| line.contains(" # {")).unwrap();
    let (sample, exemplar) = exemplar.split_once(" # ").unwrap();
    assert_eq!(
        sample,
        r#"http_server_request_duration_seconds_bucket{http_route="/orders/{id}",le="+Inf"} 2"#
    );
    let ids = r#"{trace_id="4bf92f3577b34da6a3ce929d0e0e4736",span_id="00f067aa0ba902b7"} 7.5 "#;
    assert!(exemplar.starts_with(ids), "{exemplar}");
    for line in [
        "# TYPE target info",
        "# UNIT http_server_request_duration_seconds seconds",
        "# TYPE shop_orders_placed counter",
        r#"shop_orders_placed_total{payment_kind="card \"x\"\n\\"} 3"#,
    ] {
        assert!(text.lines().any(|own| own == line), "{line} in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn names_are_translated_once() {
    for (name, unit, kind, expected) in [
        ("process.cpu", "s", Kind::Counter, "process_cpu_seconds_total"),
        ("a.seconds", "s", Kind::Gauge, "a_seconds"),
        ("a.total", "1", Kind::Counter, "a_total"),
        ("a.size", "By", Kind::Histogram, "a_size_bytes"),
        ("http.server.active_requests", "{request}", Kind::UpDownCounter, "http_server_active_requests"),
    ] {
        assert_eq!(prometheus_name(name, unit, kind), expected);
    }
}

#[test]
fn a_scrape_gets_what_it_asks_for() {
    let kind = |accept: &'static str| {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert("accept", HeaderValue::from_static(accept));
        }
        let answer = answer(&registry(), &resource(), &headers);
        answer.headers()["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned()
    };
    let open = "application/openmetrics-text";
    // Prometheus 2 and 3.
    let usual = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    assert_eq!(kind(usual), open);
    assert_eq!(kind("application/openmetrics-text"), open);
    assert_eq!(kind(""), "text/plain");
    assert_eq!(kind("*/*"), "text/plain");
    assert_eq!(kind("application/openmetrics-text;q=0.1, text/plain"), "text/plain");
    assert_eq!(kind("application/openmetrics-text;q=0"), "text/plain");
    assert_eq!(kind("application/openmetrics-text;version=9.0.0"), "text/plain");
}

#[tokio::test]
async fn the_process_and_its_runtime_are_measured() {
    let registry = Registry::new();
    observe_process(&registry);
    observe_runtime(&registry, tokio::runtime::Handle::current());
    let text = prometheus(&registry.read(), &Resource::default());
    let value = |name: &str| -> f64 {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in\n{text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1_000_000.0);
    assert!(value("process_threads") >= 1.0);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_start_time_seconds") > 1.7e9);
    assert!(value("tokio_runtime_workers") >= 1.0);
    check(&text);
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    check(&prometheus(&registry().read(), &resource()));
}

/// What promtool says of `text`. It comes with Debian's `prometheus`, which `cargo xtask test` installs.
fn check(text: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool =
        promtool.expect("promtool is there: `cargo xtask test` installs Debian's `prometheus`");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
}
