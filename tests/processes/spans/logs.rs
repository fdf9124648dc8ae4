//! Log records that are sent besides the lines.

use super::receiver::Receiver;
use crate::harness::{Process, get};

async fn sends(protocol: &str, setting: &str) {
    let receiver = Receiver::start(protocol, 0).await;
    let endpoint = format!("otlp.endpoint=http://127.0.0.1:{}", receiver.port);
    let protocol = format!("otlp.protocol={setting}");
    let settings = [&*endpoint, &protocol, "otlp.logs=true", "otlp.interval=1h"];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let mut process = Process::specimen(&arguments).await;
    assert_eq!(get(process.main, "/panic").await.status, 500);
    // What there is is sent at the end.
    process.terminate().await;
    assert!(process.ended().await.success(), "{}", process.log().text());

    let panicked = receiver.record(|record| record.body == "a handler panicked").await;
    assert_eq!((panicked.severity, panicked.flags), (17, 1));
    assert_eq!(panicked.resource["service.name"], "specimen");
    assert_eq!(panicked.scope, "mainstay_core::middleware::recover");
    assert!(panicked.attributes["exception.message"].as_str().unwrap().contains("hunter2"));
    assert!(panicked.attributes["location"].as_str().unwrap().contains("http.rs:"));
    // Of the span that arrives too.
    let spans = receiver.trace(&panicked.trace, |spans| !spans.is_empty()).await;
    assert_eq!(spans[0].id, panicked.span);
    // It is a line as well, with the same ids.
    let line =
        process.log().text().lines().find(|line| line.contains("a handler panicked")).map(str::to_owned);
    assert!(line.unwrap().contains(&panicked.trace));
    let started = receiver.record(|record| record.body == "ready").await;
    assert_eq!((started.severity, &*started.trace), (9, ""));
}

#[tokio::test]
async fn log_records_are_sent_over_grpc() {
    sends("grpc", "grpc").await;
}

#[tokio::test]
async fn log_records_are_sent_over_http() {
    sends("http", "http/protobuf").await;
}
