//! What callers make up costs no series and no memory.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::harness::{PATIENCE, Process, metrics};

const CONNECTIONS: usize = 4;
/// Sent at once, before an answer is read.
const BATCH: usize = 50;

/// Requests for paths, with methods, hosts and gRPC methods that nobody has sent before.
async fn make_up(address: SocketAddr, indices: std::ops::Range<usize>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let indices: Vec<usize> = indices.collect();
    for batch in indices.chunks(BATCH) {
        let mut requests = String::new();
        for index in batch {
            let (method, path, more) = match index % 3 {
                0 => ("GET".to_owned(), format!("/made/up/{index}?q={index}"), ""),
                1 => (format!("M{index}"), "/fast".to_owned(), ""),
                _ => ("POST".to_owned(), format!("/made.Up/M{index}"), "Content-Type: application/grpc\r\n"),
            };
            write!(requests, "{method} {path} HTTP/1.1\r\nHost: h{index}\r\nContent-Length: 0\r\n{more}\r\n")
                .unwrap();
        }
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        let all = async {
            while answers.windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count() < batch.len()
                || !answers.ends_with(b"}") && !answers.ends_with(b"\r\n\r\n")
            {
                assert_ne!(stream.read_buf(&mut answers).await.unwrap(), 0, "closed after {batch:?}");
            }
        };
        timeout(PATIENCE, all).await.unwrap();
    }
}

async fn make_up_all(address: SocketAddr, indices: std::ops::Range<usize>) {
    let share = indices.len() / CONNECTIONS;
    let mut callers = JoinSet::new();
    for caller in 0..CONNECTIONS {
        let start = indices.start + caller * share;
        callers.spawn(make_up(address, start..start + share));
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
}

fn series(metrics: &BTreeMap<String, f64>) -> Vec<&String> {
    metrics.keys().filter(|name| !name.contains("_bucket")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_paths_methods_and_hosts_leave_series_and_memory_as_they_were() {
    let process = Process::specimen(&[]).await;
    make_up_all(process.main, 0..20_000).await;
    let before = metrics(&process).await;
    make_up_all(process.main, 20_000..120_000).await;
    let after = metrics(&process).await;

    assert_eq!(series(&before), series(&after));
    let resident = |metrics: &BTreeMap<String, f64>| metrics["process_resident_memory_bytes"];
    let grown = resident(&after) - resident(&before);
    println!("memory before {} KiB, grown by {} KiB", resident(&before) / 1024.0, grown / 1024.0);
    assert!(grown < 8.0 * 1024.0 * 1024.0, "{grown} bytes");
    let counted: f64 = after
        .iter()
        .filter(|(name, _)| name.starts_with("http_server_request_duration_seconds_count"))
        .map(|(_, count)| count)
        .sum();
    assert!(counted >= 120_000.0, "{counted}");
}
