//! A plain `axum::serve` service lacks what the contract promises: the suite must say so, clause by clause.
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks by owning its runtime")]

use std::{
    collections::BTreeMap,
    future::pending,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use axum::{
    Json, Router,
    routing::{get, post},
};
use serde_json::Value;
use tokio::process::Command;

#[derive(Debug, serde::Deserialize)]
struct Order {
    product: u64,
}

/// What somebody would write without a framework around axum.
fn service() -> Router {
    Router::new()
        .route("/products", get(async || "[]"))
        .route("/orders", post(async |Json(order): Json<Order>| order.product.to_string()))
        .route(
            "/slow",
            get(async || {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                "done"
            }),
        )
        .route("/hang", get(async || pending::<String>().await))
        .route("/panic", get(async || -> String { panic!("a handler that panics, on purpose") }))
}

async fn listening() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("is bound");
    tokio::spawn(async move { axum::serve(listener, service()).await });
    format!("http://{address}")
}

async fn conform(arguments: &[&str]) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .arg("conform")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(Duration::from_secs(300), run).await.expect("it ends").expect("it starts")
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

fn states(json: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(json).expect("the JSON file is there");
    let document: Value = serde_json::from_str(&text).expect("is JSON");
    let checks = document["checks"].as_array().expect("has checks");
    let text = |check: &Value, member: &str| check[member].as_str().expect(member).to_owned();
    checks.iter().map(|check| (text(check, "id"), text(check, "state"))).collect()
}

#[tokio::test]
async fn a_plain_axum_service_fails_the_clauses_that_it_lacks_and_no_others() {
    let url = listening().await;
    let (json, junit) = (scratch("plain.json"), scratch("plain.xml"));
    let output = conform(&[
        &url,
        "--admin",
        &url,
        "--route=/products",
        "--closed-route=/products",
        "--json-route=POST=/orders",
        "--json-body={\"product\": 1}",
        "--slow-route=/slow",
        "--hang-route=/hang",
        "--panic-route=/panic",
        "--default-deadline=1s",
        "--header-timeout=1s",
        "--grpc",
        "--json",
        json.to_str().expect("is text"),
        "--junit",
        junit.to_str().expect("is text"),
    ])
    .await;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!shown.contains('\u{1b}'), "no colour where there is no terminal");

    let states = states(&json);
    let of = |state: &str| -> Vec<&str> {
        states.iter().filter(|(_, is)| *is == state).map(|(id, _)| id.as_str()).collect()
    };
    let failed = [
        "AUTH.1.closed",
        "AUTH.2.challenge",
        "AUTH.2.invalid",
        "DEADLINE.1.http",
        "DEADLINE.1.malformed",
        "DEADLINE.2.default",
        "ERR.1.body-chunked",
        "ERR.1.body-length",
        "ERR.1.content-type",
        "ERR.1.header-bytes",
        "ERR.1.header-count",
        "ERR.1.host-malformed",
        "ERR.1.host-missing",
        "ERR.1.host-twice",
        "ERR.1.json-field",
        "ERR.1.json-syntax",
        "ERR.1.long-target",
        "ERR.1.method",
        "ERR.1.not-found",
        "ERR.1.panic",
        "ERR.1.slow-header",
        "ERR.2.unimplemented",
        "ERR.3.no-internals",
        "HEALTH.1.livez",
        "HEALTH.1.readyz",
        "HEALTH.1.startupz",
        "HEALTH.1.verbose",
        "HEALTH.2.prompt",
        "HEALTH.3.list",
        "HEALTH.3.server",
        "HEALTH.3.unknown",
        "HEALTH.3.watch",
        "LIFE.5.http1",
        "LIFE.5.http2",
        "LIMIT.1.half-header",
        "LIMIT.1.half-preface",
        "LIMIT.1.no-bytes",
        "LIMIT.1.slow-body",
        "LIMIT.2.shed",
        "METRIC.1.openmetrics",
        "METRIC.1.prometheus",
        "METRIC.1.target",
        "METRIC.2.active",
        "METRIC.2.http2",
        "METRIC.2.server",
        "METRIC.3.bounded",
        "TRACE.4.echo",
        "TRACE.4.malformed",
    ];
    assert_eq!(of("failed"), failed, "{shown}");
    // What hyper and h2 do for everybody.
    let passed = ["ERR.1.two-lengths", "LIMIT.1.continuation", "LIMIT.1.rapid-reset", "LIMIT.1.streams"];
    assert_eq!(of("passed"), passed, "{shown}");
    // No process was given, no token, no gRPC method, no wrong setting, nothing that it calls.
    let calls = [
        "CALL.",
        "TRACE.1",
        "TRACE.2",
        "TRACE.4.passed-on",
        "TRACE.4.made",
        "METRIC.2.client",
        "DEADLINE.1.passed-on",
        "DEADLINE.1.gives-up",
    ];
    let not_told = ["AUTH.", "LIFE.", "DEADLINE.1.grpc", "METRIC.2.grpc", "HEALTH.3.service"];
    for skipped in of("skipped") {
        assert!(calls.iter().chain(&not_told).any(|start| skipped.starts_with(start)), "{skipped}");
    }

    let junit = std::fs::read_to_string(junit).expect("the JUnit file is there");
    assert_eq!(junit.matches("<testcase ").count(), states.len());
    assert_eq!(junit.matches("<failure ").count(), failed.len());
}

#[tokio::test]
async fn what_could_not_be_checked_is_skipped_by_name_and_fails_only_when_all_is_required() {
    let url = listening().await;
    let optional = conform(&[&url, "--only", "LIFE.3.exit,LIMIT.1.continuation"]).await;
    let shown = String::from_utf8_lossy(&optional.stdout).into_owned();
    assert_eq!(optional.status.code(), Some(0), "{shown}");
    assert!(shown.contains("LIFE.3.exit: needs --command or --pid"), "{shown}");
    assert!(shown.contains("1 passed, 0 failed, 1 skipped"), "{shown}");

    let required = conform(&[&url, "--only", "LIFE.3.exit,LIMIT.1.continuation", "--require-all"]).await;
    assert_eq!(required.status.code(), Some(1));
}

#[tokio::test]
async fn a_verdict_says_what_was_sent_what_was_expected_and_what_came() {
    let url = listening().await;
    let output = conform(&[&url, "--only", "ERR.1.not-found"]).await;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "ERR 1\n",
        "FAILED  an unknown path is a 404 problem",
        "sent     GET /mainstay-conform/no-such-path | traceparent: 00-",
        "expected 404 application/problem+json",
        "came     404 | no body",
        "because  content-type is missing; the body is no JSON object",
    ] {
        assert!(shown.contains(part), "{shown}\nshould contain: {part}");
    }
}

#[tokio::test]
async fn wrong_usage_and_an_unreachable_service_are_status_2_and_say_what_to_do() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let unreachable = format!("http://{}", gone.local_addr().expect("is bound"));
    drop(gone);
    for (arguments, part) in [
        (&[unreachable.as_str()][..], "could not connect to 127.0.0.1:"),
        (&["https://localhost"], "wants TLS"),
        (&[], "URL is missing"),
        (&["http://localhost:1", "--only", "LIVE"], "`LIVE` names no check"),
        (&["http://localhost:1", "--route", "products"], "`METHOD=/path`"),
        (&["http://localhost:1", "--profile", "/no/such/file.toml"], "/no/such/file.toml"),
        (&["http://127.0.0.1:1", "--command", "/no/such/program"], "/no/such/program"),
    ] {
        let output = conform(arguments).await;
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {shown}");
        assert!(shown.contains(part), "{arguments:?}: {shown}\nshould contain: {part}");
    }
}
