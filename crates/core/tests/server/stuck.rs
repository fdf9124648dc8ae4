//! Peers that are stuck, and the drain: whatever a peer has sent half of, the server ends, and what could finish did.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, ws::WebSocketUpgrade},
    response::{IntoResponse, Sse, sse::Event},
    routing::{any, get as on_get, post},
};
use futures_util::{StreamExt, stream};
use mainstay_core::{lifecycle::Phase, server::Shape};
use tokio::{io::AsyncReadExt, time::Instant};

use crate::support::{PREFACE, Peer, Running, frame, get, headers, shaped, start, until, within};

fn router() -> Router {
    Router::new()
        .route("/", on_get(|| async { "hello" }))
        .route("/read", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/never", any(std::future::pending::<String>))
        .route(
            "/slow",
            on_get(|| async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "finished"
            }),
        )
        .route("/large", on_get(|| async { Body::from(vec![b'x'; 64 << 20]) }))
        .route(
            "/events",
            on_get(|| async {
                let first = stream::iter([Ok::<_, Infallible>(Event::default().data("first"))]);
                Sse::new(first.chain(stream::pending()))
            }),
        )
        .route(
            "/socket",
            any(|upgrade: WebSocketUpgrade| async {
                upgrade.on_upgrade(|mut socket| async move { while socket.recv().await.is_some() {} })
            }),
        )
        .route("/both", post(|request: Request| async { request.into_body().into_response() }))
}

const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stuck {
    NoBytes,
    HalfHello,
    HalfPreface,
    PrefaceAlone,
    HalfHead,
    SlowBody,
    UnreadAnswer,
    IdleHttp1,
    HalfSecondHead,
    IdleHttp2,
    HalfFrame,
    OpenEvents,
    OpenSocket,
    OpenStream,
    UnansweredHttp2,
    UnreadHttp2,
}

use Stuck::*;

const ALL: [Stuck; 16] = [
    NoBytes,
    HalfHello,
    HalfPreface,
    PrefaceAlone,
    HalfHead,
    SlowBody,
    UnreadAnswer,
    IdleHttp1,
    HalfSecondHead,
    IdleHttp2,
    HalfFrame,
    OpenEvents,
    OpenSocket,
    OpenStream,
    UnansweredHttp2,
    UnreadHttp2,
];

impl Stuck {
    /// Whether it has a request in flight, so that it may take what the drain has.
    fn is_busy(self) -> bool {
        matches!(
            self,
            SlowBody | UnreadAnswer | OpenEvents | OpenSocket | OpenStream | UnansweredHttp2 | UnreadHttp2
        )
    }

    async fn become_stuck(self, server: &Running) -> Peer {
        let mut peer = server.connect().await;
        match self {
            NoBytes => {}
            HalfHello => peer.send([22, 3, 1, 2, 0, 1, 0]).await,
            HalfPreface => peer.send(&PREFACE[..11]).await,
            PrefaceAlone => peer.send(PREFACE).await,
            HalfHead => peer.send("GET / HTTP/1.1\r\nHo").await,
            SlowBody => peer.send("POST /read HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf").await,
            UnreadAnswer => peer.send(get("/large")).await,
            IdleHttp1 => {
                peer.send(get("/")).await;
                peer.answer().await;
            }
            HalfSecondHead => {
                peer.send(get("/")).await;
                peer.answer().await;
                peer.send("GET / HTTP").await;
            }
            IdleHttp2 => peer.hello().await,
            HalfFrame => {
                peer.hello().await;
                peer.send(&headers(1, true, "GET", "/")[..12]).await;
            }
            OpenEvents => {
                peer.send(get("/events")).await;
                assert_eq!(peer.head().await.0, 200);
            }
            OpenSocket => {
                peer.send(UPGRADE).await;
                assert_eq!(peer.head().await.0, 101);
            }
            OpenStream => {
                peer.hello().await;
                peer.send(headers(1, false, "POST", "/both")).await;
                peer.send(frame(0, 0, 1, b"ping")).await;
                peer.frame_of_type(1).await;
            }
            UnansweredHttp2 => {
                peer.hello().await;
                peer.send(headers(1, true, "GET", "/never")).await;
            }
            UnreadHttp2 => {
                peer.hello().await;
                // The flow-control window that the peer opened is 64 KiB.
                peer.send(headers(1, true, "GET", "/large")).await;
                peer.frame_of_type(0).await;
            }
        }
        peer
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn no_stuck_peer_delays_the_drain(shape: Shape) {
    for stuck in ALL {
        let server = start(&shaped(shape), router());
        let mut peer = stuck.become_stuck(&server).await;
        // A request that can finish does, beside the one that can't.
        let mut busy = server.connect().await;
        busy.send(get("/slow")).await;
        until(|| server.stats.snapshot().accepted == 2).await;
        settle().await;

        server.advance(Phase::Announced);
        server.advance(Phase::Closing);
        let answer = busy.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "finished"), "beside {stuck:?}");
        busy.assert_closed().await;

        if stuck.is_busy() {
            // Nothing but the end of the drain ends it.
            settle().await;
            assert_eq!(
                server.stats.snapshot().open,
                1,
                "{stuck:?} keeps what it has until the end of the drain"
            );
        } else {
            peer.rest().await;
        }
        server.advance(Phase::Cut);
        let cut = Instant::now();
        let summary = server.ended().await;
        assert_eq!((summary.left, summary.counted.open), (0, 0), "{stuck:?}");
        assert!(cut.elapsed() < Duration::from_secs(4), "{stuck:?} took {:?} to cut", cut.elapsed());
        assert_eq!(summary.counted.panicked, 0, "{stuck:?}");
        drop(peer);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stuck_peer_delays_the_drain_of_a_shared_server() {
    no_stuck_peer_delays_the_drain(Shape::Shared).await;
}

#[tokio::test]
async fn no_stuck_peer_delays_the_drain_of_a_server_per_core() {
    no_stuck_peer_delays_the_drain(Shape::PerCore).await;
}

#[tokio::test]
async fn peers_without_a_request_are_closed_without_waiting_for_the_end_of_the_drain() {
    let server = start(&shaped(Shape::Shared), router());
    let mut peers = Vec::new();
    for stuck in ALL.into_iter().filter(|stuck| !stuck.is_busy()) {
        peers.push(stuck.become_stuck(&server).await);
    }
    settle().await;
    // `Cut` never comes.
    let summary = server.stop().await;
    assert_eq!((summary.left, summary.counted.cut, summary.counted.open), (0, 0, 0));
    for peer in &mut peers {
        peer.rest().await;
    }
}

#[tokio::test]
async fn dropping_the_server_cuts_its_connections() {
    for shape in [Shape::Shared, Shape::PerCore] {
        let server = start(&shaped(shape), router());
        let mut open = [OpenSocket.become_stuck(&server).await, OpenEvents.become_stuck(&server).await];
        let stats = server.stats.clone();
        server.abandon();
        until(|| stats.snapshot().open == 0).await;
        for peer in &mut open {
            peer.rest().await;
        }
    }
}

#[tokio::test]
async fn an_open_stream_ends_by_itself_when_its_handler_ends_it() {
    let server = start(&shaped(Shape::Shared), router());
    let mut peer = OpenStream.become_stuck(&server).await;
    server.advance(Phase::Closing);
    // GOAWAY, then the stream goes on.
    peer.frame_of_type(7).await;
    peer.send(frame(0, 1, 1, b"last")).await;
    let data = within(async {
        loop {
            let (kind, flags, _, payload) = peer.frame().await;
            match kind {
                // A graceful GOAWAY waits for the answer to a PING.
                6 if flags == 0 => peer.send(frame(6, 1, 0, &payload)).await,
                0 if payload.ends_with(b"last") => return payload,
                _ => {}
            }
        }
    })
    .await;
    assert!(data.ends_with(b"last"));
    let summary = server.ended().await;
    assert_eq!((summary.counted.cut, summary.left), (0, 0));
    let mut rest = Vec::new();
    let _ = peer.stream.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn http2_learns_of_the_drain_by_goaway_and_late_comers_after_their_first_answer() {
    let server = start(&shaped(Shape::Shared), router());
    let mut early = IdleHttp2.become_stuck(&server).await;
    until(|| server.stats.snapshot().accepted == 1).await;
    settle().await;
    server.advance(Phase::Announced);
    early.frame_of_type(7).await;
    let mut late = server.connect().await;
    late.hello().await;
    late.send(headers(1, true, "GET", "/")).await;
    let mut seen = Vec::new();
    while !seen.contains(&7) || !seen.contains(&0) {
        seen.push(late.frame().await.0);
    }
    // One that goes on after GOAWAY has room until the peer acknowledges the end.
    assert_eq!(server.stop().await.left, 0);
}
