//! What the admin listener tells of requests: those that hang, those that were slow or have failed.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    time::{Duration, sleep, timeout},
};

use crate::{
    harness::{PATIENCE, Process, exchange, get},
    inspect::inspect,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Sends the beginning of a request, and keeps the connection.
async fn send(to: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// A service that takes connections and never answers.
async fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn report(process: &Process) -> Value {
    let request =
        "GET /requests HTTP/1.1\r\nHost: test\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    let answer = exchange(process.admin, request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// The report, once it is so.
async fn until(process: &Process, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let report = report(process).await;
            if is_so(&report) {
                return report;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    match timeout(PATIENCE, wait).await {
        Ok(report) => report,
        Err(_) => panic!("{what} is not told: {:#}", report(process).await),
    }
}

#[tokio::test]
async fn a_request_that_hangs_in_another_service_is_seen_with_its_place() {
    let upstream = silent().await;
    let place = format!("127.0.0.1:{}", upstream.local_addr().unwrap().port());
    let dependency = format!("discovery.static.dependency=[\"http://{place}\"]");
    let specimen = Process::specimen(&["--set", &dependency]).await;
    let hanging = send(
        specimen.main,
        &format!(
            "GET /call?token=hunter2 HTTP/1.1\r\nHost: test\r\nx-request-timeout: 600S\r\n\
             traceparent: 00-{TRACE}-b7ad6b7169203331-00\r\n\r\n"
        ),
    )
    .await;
    let report = until(&specimen, "the call", |report| report["in_flight"][0]["at"] == "calls").await;
    assert_eq!((&report["in_flight_count"], &report["calls_count"]), (&1.into(), &1.into()), "{report:#}");
    let request = &report["in_flight"][0];
    assert_eq!((&request["service"], &request["method"]), (&"specimen".into(), &"GET".into()));
    assert_eq!((&request["route"], &request["calls"]), (&"/call".into(), &["dependency"][..].into()));
    assert_eq!(request["trace_id"], TRACE);
    assert_eq!(request["peer"], hanging.local_addr().unwrap().to_string());
    let left = request["deadline_seconds"].as_f64().unwrap();
    assert!(left > 0.0 && left <= 600.0, "{request:#}");
    let call = &report["calls"][0];
    assert_eq!((&call["service"], &call["endpoint"]), (&"dependency".into(), &place.clone().into()));
    assert_eq!((&call["caller"], &call["waits_for"]), (&"specimen".into(), &"answer".into()));
    assert_eq!(call["trace_id"], TRACE);

    let text = get(specimen.admin, "/requests").await;
    assert!(text.head.contains("text/plain") && text.body.contains("in flight: 1\n"), "{text:?}");
    let line = text.body.lines().find(|line| line.contains("GET /call")).unwrap();
    assert!(line.contains("calls  dependency") && line.contains(TRACE), "{}", text.body);
    assert!(!text.body.contains("hunter2") && !report.to_string().contains("hunter2"));
    let (code, shown) = inspect(specimen.admin, &["requests"]).await;
    assert_eq!(code, Some(0), "{shown}");
    let line = shown.lines().find(|line| line.contains("/call")).unwrap();
    assert!(line.contains("dependency") && line.contains(TRACE), "{shown}");

    drop(hanging);
    let report = until(&specimen, "the end", |report| report["in_flight_count"] == 0).await;
    assert_eq!(report["calls_count"], 0, "{report:#}");
    let failed = &report["failed"][0];
    assert_eq!((&failed["route"], &failed["error"]), (&"/call".into(), &"cancelled".into()), "{report:#}");
    assert_eq!(report["slowest"][0]["trace_id"], TRACE, "{report:#}");
}

#[tokio::test]
async fn an_upload_that_stops_and_a_download_that_nobody_reads_are_seen() {
    let specimen = Process::specimen(&[]).await;
    let upload = "POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf";
    let upload = send(specimen.main, upload).await;
    let download = send(specimen.main, "GET /endless HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let at = |report: &Value, route: &str, at: &str| {
        let requests = report["in_flight"].as_array().unwrap();
        requests.iter().any(|request| request["route"] == route && request["at"] == at)
    };
    until(&specimen, "where they are", |report| {
        at(report, "/count", "request") && at(report, "/endless", "answer")
    })
    .await;
    drop((upload, download));
    until(&specimen, "the end", |report| report["in_flight_count"] == 0).await;
}

#[tokio::test]
async fn what_failed_is_told_with_its_trace_and_nothing_secret() {
    let specimen = Process::specimen(&[]).await;
    for path in ["/fault?token=hunter2", "/panic", "/nowhere/hunter2", "/hello"] {
        get(specimen.main, path).await;
    }
    let report = until(&specimen, "the panic", |report| report["failed"][1].is_object()).await;
    let failed: Vec<_> = report["failed"].as_array().unwrap().iter().map(|one| &one["route"]).collect();
    assert_eq!(failed, ["/panic", "/fault"], "{report:#}");
    assert_eq!((&report["failed"][0]["status"], &report["failed"][0]["error"]), (&500.into(), &"500".into()));
    assert!(!report.to_string().contains("hunter2"), "{report:#}");
    let trace = report["failed"][0]["trace_id"].as_str().unwrap();
    specimen.log().wait_for("the panic, with its trace", |line| line.contains(trace).then_some(())).await;
}

#[tokio::test]
async fn a_profile_is_taken_for_some_seconds_by_one_at_a_time() {
    let specimen = Process::specimen(&[]).await;
    let path = "/debug/pprof/profile?seconds=1";
    let head = format!("HEAD {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange(specimen.admin, &head).await.status, 200);
    let (one, two) = tokio::join!(get(specimen.admin, path), get(specimen.admin, path));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{} {}", one.body, two.body);
    let taken = if one.status == 200 { one } else { two };
    assert!(taken.head.contains("application/octet-stream") && taken.body.contains("nanoseconds"));
    for wrong in ["0", "61", "-1", "soon"] {
        let refused = get(specimen.admin, &format!("/debug/pprof/profile?seconds={wrong}")).await;
        assert!((400..=422).contains(&refused.status), "{wrong}: {refused:?}");
    }
}
