//! Starting and stopping, as the process that started it sees it (contract LIFE 1, 4, 5 and ERR 3).

use std::{net::TcpListener, path::Path, time::Duration};

use tokio::{io::AsyncWriteExt, time::timeout};

use crate::harness::{PATIENCE, Process, exchange, get};

async fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_specimen"));
    let output = timeout(PATIENCE, Process::command(program, arguments).output()).await.unwrap().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), text)
}

/// The phase in which readiness goes; other lines speak of `drain.delay`.
fn drains(line: &str) -> Option<()> {
    line.contains(r#""phase":"announce""#).then_some(())
}

#[tokio::test]
async fn every_wrong_value_is_reported_and_nothing_listens() {
    let wrong =
        ["--set", "drain.timeout=soon", "--set", "server.adress=here", "--set", "admin.address=nowhere"];
    let (code, text) = refused(&wrong).await;
    assert_eq!(code, Some(78), "{text}");
    for part in ["drain.timeout", "soon", "30s", "server.adress", "server.address", "admin.address", "--set"]
    {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(!text.contains("listening"), "{text}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, text) = refused(&["--set", &format!("server.address={address}")]).await;
    assert!(matches!(code, Some(1..)), "{code:?} {text}");
    assert!(text.contains(&address.to_string()), "{text}");
    assert!(text.contains("server.address"), "{text}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut process = Process::specimen(&["--set", "drain.timeout=10m"]).await;
    let mut stuck = process.connect().await;
    stuck.write_all(b"GET /never HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    process.terminate().await;
    process.log().wait_for("the drain", drains).await;
    process.terminate().await;
    let status = process.ended().await;
    assert_ne!(status.code(), Some(0), "{}", process.log().text());
}

#[tokio::test]
async fn readiness_goes_first_and_the_listener_stays_for_the_delay() {
    let mut process = Process::specimen(&["--set", "drain.delay=2s"]).await;
    process.terminate().await;
    process.log().wait_for("the drain", drains).await;
    assert_eq!(get(process.admin, "/readyz").await.status, 503);
    assert_eq!(get(process.admin, "/livez").await.status, 200);
    let answer = get(process.main, "/hello").await;
    assert_eq!(answer.status, 200);
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log().text());
}

#[tokio::test]
async fn a_panic_costs_one_request_a_500_without_internals() {
    let process = Process::specimen(&[]).await;
    for (path, cause) in [("/panic", "hunter2"), ("/fault", "No such file")] {
        let answer = get(process.main, path).await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.head.contains("application/problem+json"), "{answer:?}");
        for secret in ["hunter2", ".rs", "panick", "No such file"] {
            assert!(!answer.body.contains(secret), "{answer:?}");
        }
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let trace_id = problem["trace_id"].as_str().unwrap().to_owned();
        let told = |line: &str| (line.contains(&trace_id) && line.contains(cause)).then_some(());
        process.log().wait_for("the cause, with the trace id", told).await;
    }
    assert_eq!(get(process.main, "/hello").await.status, 200);
    let status = get(process.admin, "/status").await;
    assert!(status.body.contains("panic"), "{status:?}");
}

#[tokio::test]
async fn a_panic_is_told_with_its_place_its_ids_and_its_way_there() {
    let mut command = Process::command(Path::new(env!("CARGO_BIN_EXE_specimen")), &[]);
    command.env("RUST_BACKTRACE", "1");
    let process = Process::spawn(command).await;
    assert_eq!(get(process.main, "/panic").await.status, 500);
    let told = |line: &str| line.contains("a handler panicked").then(|| serde_json::from_str(line).unwrap());
    let line: serde_json::Value = process.log().wait_for("the panic", told).await;
    for (field, part) in [("location", "http.rs:"), ("exception.stacktrace", "specimen::http::panics")] {
        assert!(line["attributes"][field].as_str().unwrap().contains(part), "{line}");
    }
    assert!(line["span_id"].is_string() && line["trace_id"].is_string(), "{line}");
}

#[tokio::test]
async fn a_dependency_that_fails_is_in_the_log_and_not_in_the_answer() {
    let process = Process::specimen(&[]).await;
    let answer = get(process.main, "/lost").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.body.contains("nowhere"), "{answer:?}");
    let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let trace_id = problem["trace_id"].as_str().unwrap().to_owned();
    let told =
        |line: &str| (line.contains(&trace_id) && line.contains("discovery.static.nowhere")).then_some(());
    process.log().wait_for("what to set, with the trace id", told).await;
}

#[tokio::test]
async fn a_malformed_body_is_a_problem_that_names_the_field() {
    let process = Process::specimen(&[]).await;
    let post = async |body: &str| {
        let length = body.len();
        let head =
            "POST /orders HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n";
        exchange(process.main, &format!("{head}Content-Length: {length}\r\n\r\n{body}")).await
    };
    let answer = post("{\"item\": ").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = post("{\"item\": \"a\", \"quantity\": \"two\"}").await;
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.body.contains("quantity"), "{answer:?}");
    let answer = post("{\"item\": \"a\", \"quantity\": 0}").await;
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.body.contains("\"field\":\"quantity\""), "{answer:?}");
}

#[tokio::test]
async fn the_configuration_is_shown_with_its_sources_and_without_secrets() {
    let process = Process::specimen(&["--set", "server.bounds.header_read=7s"]).await;
    let answer = get(process.admin, "/config").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("header_read") && answer.body.contains("--set"), "{answer:?}");
}
