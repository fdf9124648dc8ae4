#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use std::{fs, process::Command, time::Duration};

use mainstay_core::{
    metrics::Registry,
    observe::{Client, Server},
    trace::Tracer,
};

use super::*;
use crate::metrics;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn slos() -> Slos {
    Slos::default()
        .with("orders", "placing", Slo::availability(99.9).with_method("POST").with_route("/orders/{id}"))
        .with("orders", "fast", Slo::latency(95.0, Duration::from_millis(250)).with_min_failures(1))
        .with("orders", "whole", Slo::availability(99.99).with_window(7 * DAY).with_min_failures(500))
        // Nothing can burn its budget 14.4 times too fast.
        .with("inventory", "lax", Slo::availability(90.0).with_rpc("shop.Inventory/Reserve"))
        .with(
            "inventory",
            "slow",
            Slo::latency(99.5, Duration::from_secs(1)).with_rpc("shop.Inventory/Reserve"),
        )
        .of(["orders", "inventory", "idle"])
}

fn text(export: &Export, name: &str) -> String {
    export.files().iter().find(|file| file.name == name).unwrap_or_else(|| panic!("no {name}")).text.clone()
}

/// What promtool says of the files in `directory`, which `cargo xtask test` installs with Debian's `prometheus`.
fn promtool(directory: &std::path::Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("promtool is there: `cargo xtask test` installs Debian's `prometheus`");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.success(), said)
}

fn written(export: &Export, test: &str) -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("mainstay-slo-{test}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    for file in export.files() {
        fs::write(directory.join(&file.name), &file.text).unwrap();
    }
    directory
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() {
    let export = Export::new(&slos());
    let directory = written(&export, "rules");
    let names = |end: &str| -> Vec<String> {
        export.files().iter().map(|file| file.name.clone()).filter(|name| name.ends_with(end)).collect()
    };
    let (rules, tests) = (names(".rules.yaml"), names(".tests.yaml"));
    assert_eq!((rules.len(), tests.len()), (4, 4));
    for (verb, files) in [("check", &rules), ("test", &tests)] {
        let arguments: Vec<&str> =
            [verb, "rules"].into_iter().chain(files.iter().map(String::as_str)).collect();
        let (success, said) = promtool(&directory, &arguments);
        assert!(success && !said.contains("FAILED"), "{said}");
    }
    // The tests of the rules can fail: without a threshold, with one that is never reached, without the guard, with another
    // budget, with nobody told where nothing is known.
    let rules = text(&export, "orders.rules.yaml");
    for (part, other) in [
        ("14.4 * 0.001", "1.01"),
        ("> 14.4 * 0.001", "> 0"),
        (" >= 10", " >= 0"),
        ("/ 0.001", "/ 0.01"),
        ("absent(slo:requests:rate5m{", "(slo:requests:rate5m{"),
    ] {
        assert!(rules.contains(part), "{part} in\n{rules}");
        fs::write(directory.join("orders.rules.yaml"), rules.replace(part, other)).unwrap();
        let (success, said) = promtool(&directory, &["test", "rules", "orders.tests.yaml"]);
        assert!(!success && said.contains("placing"), "{part}: {said}");
    }
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_objective_has_the_workbooks_four_alerts() {
    let rules = text(&Export::new(&slos()), "orders.rules.yaml");
    for line in [
        r#"slo:error_ratio:rate1h{service_name="orders",slo="placing"} > 14.4 * 0.001"#,
        r#"slo:error_ratio:rate5m{service_name="orders",slo="placing"} > 14.4 * 0.001"#,
        r#"slo:error_ratio:rate6h{service_name="orders",slo="placing"} > 6 * 0.001"#,
        r#"slo:error_ratio:rate30m{service_name="orders",slo="placing"} > 6 * 0.001"#,
        r#"slo:error_ratio:rate1d{service_name="orders",slo="placing"} > 3 * 0.001"#,
        r#"slo:error_ratio:rate2h{service_name="orders",slo="placing"} > 3 * 0.001"#,
        r#"slo:error_ratio:rate3d{service_name="orders",slo="placing"} > 1 * 0.001"#,
        r#"slo:error_ratio:rate6h{service_name="orders",slo="placing"} > 1 * 0.001"#,
        r#"slo:errors:rate1h{service_name="orders",slo="placing"} * 3600 >= 10"#,
        r#"http_server_request_duration_seconds_bucket{service_name="orders",error_type=~"|cancelled",le="0.25"}"#,
    ] {
        assert!(rules.contains(line), "{line} in\n{rules}");
    }
    let lax = text(&Export::new(&slos()), "inventory.rules.yaml");
    assert!(lax.contains("> 6 * 0.1") && !lax.contains("14.4 * 0.1"), "{lax}");
    assert!(lax.contains(r#"rpc_method="shop.Inventory/Reserve""#) && lax.contains(r#"le="1.0""#), "{lax}");
}

#[test]
fn every_query_about_requests_names_what_is_measured() {
    let (registry, export) = (Registry::new(), Export::new(&slos()));
    Server::new(&registry, "orders", Tracer::default()).unwrap();
    Client::new(&registry).unwrap();
    metrics::observe_process(&registry);
    let unknown = export.unknown(&Vocabulary::of(&registry));
    assert_eq!(unknown.keys().copied().collect::<Vec<_>>().len(), 5, "{unknown:?}");
    let all: Vec<String> = unknown.values().flatten().map(ToString::to_string).collect();
    // What the process and its runtime are is told elsewhere.
    let elsewhere = ["`mainstay_", "`tokio_"];
    let requests: Vec<_> =
        all.iter().filter(|told| !elsewhere.iter().any(|name| told.contains(name))).collect();
    assert_eq!(requests, [""; 0], "{all:?}");
    let nothing = export.unknown(&Vocabulary::scraped(""));
    assert!(nothing["orders.rules.yaml"].iter().any(|unknown| unknown.to_string().contains("http_server")));
}

#[test]
fn what_cannot_be_watched_is_refused_by_its_key() {
    let second = Duration::from_secs(1);
    for (slo, expected) in [
        (Slo::availability(100.0), "slo.orders.x.objective: percent, at least 50 and less than 100"),
        (Slo::availability(f64::NAN), "slo.orders.x.objective: percent"),
        (Slo::availability(0.999), "slo.orders.x.objective: percent"),
        (
            Slo::latency(99.0, Duration::from_millis(300)),
            "slo.orders.x.latency: a bound of the buckets that durations are counted in, one of 5ms, 10ms, 25ms, 50ms, 75ms, \
             100ms, 250ms, 500ms, 750ms, 1s, 2s500ms, 5s, 7s500ms, 10s",
        ),
        (Slo::availability(99.0).with_window(second), "slo.orders.x.window: from 7d to 90d"),
        (Slo::availability(99.0).with_route("orders"), "slo.orders.x.route: a route as the router has it"),
        (Slo::availability(99.0).with_rpc("a/B").with_route("/"), "slo.orders.x.route: "),
        (Slo::availability(99.0).with_method("post"), "slo.orders.x.method: one of CONNECT, "),
        (Slo::availability(99.0).with_rpc("/a/B"), "slo.orders.x.rpc: a method with its service"),
        (Slo::availability(99.0).with_min_failures(0), "slo.orders.x.min_failures: at least 1"),
    ] {
        let error = Slos::default().with("orders", "x", slo).check().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = Slos::default().with("orders", "X y", Slo::availability(99.0)).check().unwrap_err();
    assert!(error.to_string().starts_with("slo.orders.X y: the name of an objective is"), "{error}");
    for latency in mainstay_core::metrics::SECONDS {
        slos().with("orders", "x", Slo::latency(99.0, Duration::from_secs_f64(latency))).check().unwrap();
    }
}

#[test]
fn a_text_in_a_route_stays_in_its_quotes() {
    let slo = Slo::availability(99.0).with_route("/a\"} or vector(1) #\\\n");
    let slos = Slos::default().with("orders", "x", slo);
    slos.check().unwrap();
    let export = Export::new(&slos);
    let directory = written(&export, "quotes");
    let (success, said) = promtool(&directory, &["check", "rules", "orders.rules.yaml"]);
    assert!(success, "{said}");
    let queries: Vec<_> = export.queries().filter(|(file, _)| *file == "orders.rules.yaml").collect();
    assert!(queries.iter().any(|(_, query)| query.contains(r#"http_route="/a\"} or vector(1) #\\\n""#)));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_route_is_one_that_alertmanager_reads() {
    let export = Export::new(&slos());
    let config = text(&export, "alertmanager.yaml");
    assert!(config.contains("severity = \"page\"") && config.contains(super::burn::ALERT));
    let page: serde_json::Value = serde_json::from_str(&text(&export, "services.dashboard.json")).unwrap();
    let panels = page["panels"].as_array().unwrap();
    assert!(panels.len() > 25, "{}", panels.len());
    let ids: std::collections::BTreeSet<_> =
        panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}
