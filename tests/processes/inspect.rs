//! `mainstay inspect` and a running process.

use std::{net::SocketAddr, process::Stdio};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::harness::{PATIENCE, Process, binary, exchange, get};

pub(crate) async fn inspect(address: SocketAddr, arguments: &[&str]) -> (Option<i32>, String) {
    let run = Command::new(binary("mainstay"))
        .args(["inspect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, run).await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn the_pages_of_a_process_are_shown_for_people_and_for_programs() {
    let dependency = "discovery.static.dependency=[\"http://127.0.0.1:1\",\"unix:/nowhere\"]";
    let specimen = Process::specimen(&["--set", dependency]).await;
    assert_ne!(get(specimen.main, "/call").await.status, 200);

    let (code, text) = inspect(specimen.admin, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("readyz") && text.contains("switch") && !text.contains('\u{1b}'), "{text}");

    let (code, text) = inspect(specimen.admin, &["discovery"]).await;
    assert_eq!(code, Some(0), "{text}");
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |words: &[&str]| rows.iter().any(|row| words.iter().all(|word| row.contains(word)));
    assert!(row(&["place", "health", "weight"]), "{text}");
    assert!(row(&["http://127.0.0.1:1", "unreachable"]) && row(&["unix:/nowhere", "serving"]), "{text}");

    let (code, text) = inspect(specimen.admin, &["config"]).await;
    assert_eq!(code, Some(0), "{text}");
    let mut lines = text.lines().filter(|line| line.contains("server.address"));
    let is_set = |line: &str| line.contains("127.0.0.1:0") && line.contains("--set on the command line");
    assert!(lines.any(is_set), "{text}");

    let (code, text) = inspect(specimen.admin, &["/status", "--json"]).await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, status["lifecycle"]["stage"].as_str()), (Some(0), Some("running")), "{text}");

    let (code, text) = inspect(specimen.admin, &["prices"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("has no page `/prices`; it has: /auth, /config, /debug/pprof/profile, /discovery,"),
        "{text}"
    );
    let (code, text) = inspect(specimen.main, &["discovery"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("is no admin listener: /livez answered 404"), "{text}");
}

#[tokio::test]
async fn a_process_that_is_not_ready_is_shown_and_told_by_the_status() {
    let specimen = Process::specimen(&[]).await;
    let request = "PUT /ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfalse";
    assert_eq!(exchange(specimen.main, request).await.status, 200);
    let told = async {
        loop {
            let (code, text) = inspect(specimen.admin, &["health"]).await;
            if code == Some(1) {
                return text;
            }
            assert_eq!(code, Some(0), "{text}");
        }
    };
    let text = timeout(PATIENCE, told).await.unwrap();
    let failing = text.lines().find(|line| line.contains("switch")).unwrap();
    assert!(failing.contains("failing") && failing.contains("it was told so"), "{text}");
}
