//! Metrics that are sent, where nobody scrapes.

use super::receiver::Receiver;
use crate::harness::{Process, get};

async fn sends(protocol: &str, setting: &str) {
    let receiver = Receiver::start(protocol, 0).await;
    let endpoint = format!("otlp.endpoint=http://127.0.0.1:{}", receiver.port);
    let protocol = format!("otlp.protocol={setting}");
    let settings = [&*endpoint, &protocol, "otlp.metrics=true", "otlp.metrics_interval=1h"];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let mut process = Process::specimen(&arguments).await;
    for _ in 0..3 {
        assert_eq!(get(process.main, "/hello").await.status, 200);
    }
    // What there is is sent at the end.
    process.terminate().await;
    assert!(process.ended().await.success(), "{}", process.log().text());
    let points = receiver.points().await;
    let of =
        |name: &str| points.iter().find(|point| point.metric == name).unwrap_or_else(|| panic!("no {name}"));
    let requests = of("http.server.request.duration");
    assert_eq!((&*requests.unit, &*requests.kind, requests.value), ("s", "histogram", 3.0));
    assert_eq!(requests.attributes["http.route"], "/hello");
    assert_eq!(requests.resource["service.name"], "specimen");
    assert!(!requests.attributes.contains_key("service.name"));
    assert_eq!(of("tokio.runtime.workers").kind, "sum");
    assert!(of("process.start_time").value > 1e9);
}

#[tokio::test]
async fn metrics_are_sent_over_grpc() {
    sends("grpc", "grpc").await;
}

#[tokio::test]
async fn metrics_are_sent_over_http() {
    sends("http", "http/protobuf").await;
}
