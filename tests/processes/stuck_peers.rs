//! Peers that are stuck, one of each kind, while the service is told to stop: it ends with status 0 within
//! `drain.timeout` and a second, and what was in flight and could finish did (contract LIFE 3, LIMIT 1).

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::harness::{PATIENCE, Process};

/// The bound given to the drain.
const DRAIN: Duration = Duration::from_secs(3);
/// What the contract allows above it; the rest is for a busy machine to start and reap a process.
const MARGIN: Duration = Duration::from_secs(1);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A peer that got as far as it ever will.
struct Stuck {
    /// Held open, nothing more is done with it.
    _stream: TcpStream,
}

async fn sent(process: &Process, bytes: &[u8]) -> TcpStream {
    let mut stream = process.connect().await;
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Sends `bytes` and waits until the answer holds `until`.
async fn heard(process: &Process, bytes: &[u8], until: &str) -> TcpStream {
    let mut stream = sent(process, bytes).await;
    let mut heard = Vec::new();
    let wait = async {
        while !String::from_utf8_lossy(&heard).contains(until) {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&part[..count]);
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {until:?}"));
    stream
}

/// An HTTP/2 connection whose settings were exchanged.
async fn http2(process: &Process) -> TcpStream {
    let mut stream = sent(process, &[PREFACE, EMPTY_SETTINGS].concat()).await;
    let mut frame = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "the first frame is SETTINGS");
    stream
}

/// A bidirectional gRPC stream that stays open: HEADERS without END_STREAM, hand-made HPACK literals.
async fn grpc_stream(process: &Process) -> TcpStream {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/mainstay.specimen.v1.Echo/Chat"),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0); // literal without indexing, new name
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let length = u8::try_from(block.len()).unwrap();
    let mut stream = http2(process).await;
    let head = [0, 0, length, 1, 0x4, 0, 0, 0, 1];
    stream.write_all(&[&head[..], &block].concat()).await.unwrap();
    // The answer's HEADERS frame on stream 1 shows that the handler runs.
    let wait = async {
        let mut frames = Vec::new();
        loop {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap();
            assert!(count > 0, "closed");
            frames.extend_from_slice(&part[..count]);
            if String::from_utf8_lossy(&frames).contains('\u{1}')
                && frames.windows(4).any(|w| w == [0, 0, 0, 1])
            {
                break;
            }
        }
    };
    timeout(PATIENCE, wait).await.unwrap();
    stream
}

async fn stuck(process: &Process, kind: &str) -> Stuck {
    let _stream = match kind {
        "no bytes" => process.connect().await,
        "half TLS hello" => sent(process, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]).await,
        "half HTTP/2 preface" => sent(process, &PREFACE[..12]).await,
        "half header" => sent(process, b"GET /hello HTTP/1.1\r\nHost: te").await,
        "slow body" => {
            let head = b"POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nhalf";
            sent(process, head).await
        }
        "unread answer" => sent(process, b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n").await,
        "idle HTTP/1.1" => heard(process, b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n", "hello").await,
        "idle HTTP/2" => http2(process).await,
        "open SSE" => heard(process, b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n", "data: 1").await,
        "open WebSocket" => {
            let upgrade =
                b"GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            heard(process, upgrade, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").await
        }
        "open bidirectional gRPC stream" => grpc_stream(process).await,
        other => panic!("no such peer: {other}"),
    };
    Stuck { _stream }
}

const KINDS: [&str; 11] = [
    "no bytes",
    "half TLS hello",
    "half HTTP/2 preface",
    "half header",
    "slow body",
    "unread answer",
    "idle HTTP/1.1",
    "idle HTTP/2",
    "open SSE",
    "open WebSocket",
    "open bidirectional gRPC stream",
];

/// Stops the specimen with these peers attached, and a request in flight that takes a second.
async fn stops_in_time(kinds: &[&str], arguments: &[&str]) {
    let mut process = Process::specimen(&[arguments, &["--set", "drain.timeout=3s"]].concat()).await;
    let mut peers = Vec::new();
    for kind in kinds {
        peers.push(stuck(&process, kind).await);
    }
    let mut in_flight = sent(&process, b"GET /slow?ms=1000 HTTP/1.1\r\nHost: test\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(200)).await;

    let begun = Instant::now();
    process.terminate().await;
    let mut answer = String::new();
    timeout(PATIENCE, in_flight.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{kinds:?}: what was in flight got {answer:?}");
    assert!(answer.to_lowercase().contains("connection: close"), "{kinds:?}: {answer:?}");
    let status = process.ended().await;
    let took = begun.elapsed();
    assert_eq!(status.code(), Some(0), "{kinds:?}:\n{}", process.log().text());
    assert!(took <= DRAIN + MARGIN, "{kinds:?}: the drain took {took:?}:\n{}", process.log().text());
    drop(peers);
}

#[tokio::test]
async fn each_stuck_peer_costs_the_drain_at_most_its_bound() {
    for kind in KINDS {
        stops_in_time(&[kind], &[]).await;
    }
}

#[tokio::test]
async fn all_stuck_peers_together_cost_the_drain_at_most_its_bound() {
    let all: Vec<&str> = KINDS.iter().copied().cycle().take(3 * KINDS.len()).collect();
    stops_in_time(&all, &[]).await;
}

#[tokio::test]
async fn all_stuck_peers_together_with_a_runtime_a_core() {
    stops_in_time(&KINDS, &["--set", "server.shape=per-core"]).await;
}
