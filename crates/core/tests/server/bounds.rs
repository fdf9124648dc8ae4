//! The bounds on time and number, each with its own answer.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, Bytes},
    routing::{any, get as on_get, post},
};
use futures_util::StreamExt;
use mainstay_core::{
    error::Kind,
    server::{Bounds, Config},
};
use tokio::io::AsyncWriteExt;

use crate::support::{PREFACE, Peer, config, frame, get, headers, start, telling, until, within};

/// Short for a test, long beside what a loaded machine takes for a step.
const SHORT: Duration = Duration::from_millis(200);

fn bounded(set: impl FnOnce(&mut Bounds)) -> Config {
    let mut config = config();
    set(&mut config.bounds);
    config
}

fn router() -> Router {
    Router::new()
        .route("/", on_get(|| async { "hello" }))
        .route("/large", on_get(|| async { Body::from(vec![b'x'; 64 << 20]) }))
        .route("/never", any(std::future::pending::<String>))
}

#[tokio::test]
async fn a_connection_without_a_byte_is_closed() {
    let server = start(&bounded(|bounds| bounds.first_byte = SHORT.into()), router());
    let mut peer = server.connect().await;
    peer.assert_closed().await;
    assert_eq!(server.stop().await.counted.timeouts.first_byte, 1);
}

#[tokio::test]
async fn half_a_preface_is_closed() {
    let server = start(&bounded(|bounds| bounds.detect = SHORT.into()), router());
    let mut half = server.connect().await;
    half.send(&PREFACE[..5]).await;
    half.assert_closed().await;
    // The preface is whole, the SETTINGS that must follow are not.
    let mut silent = server.connect().await;
    silent.send(PREFACE).await;
    silent.rest().await;
    assert_eq!(server.stop().await.counted.timeouts.detect, 2);
}

#[tokio::test]
async fn a_head_that_does_not_end_gets_a_408() {
    let server = start(&bounded(|bounds| bounds.header_read = SHORT.into()), router());
    let mut peer = server.connect().await;
    peer.send("GET / HTTP/1.1\r\n").await;
    // Bytes that trickle in don't move the bound.
    for _ in 0..3 {
        tokio::time::sleep(SHORT / 5).await;
        peer.try_send("a: b\r\n").await;
    }
    peer.answer().await.assert_problem(408);
    peer.assert_closed().await;

    // The second head of a connection has the same bound.
    let mut peer = server.connect().await;
    peer.send(get("/")).await;
    assert_eq!(peer.answer().await.status, 200);
    peer.send("GET / HT").await;
    peer.answer().await.assert_problem(408);
    assert_eq!(server.stop().await.counted.timeouts.header_read, 2);
}

#[tokio::test]
async fn a_body_that_stops_ends_the_read_with_a_408() {
    let router = Router::new().route(
        "/read",
        post(|body: Body| async move {
            let mut stream = body.into_data_stream();
            while let Some(chunk) = stream.next().await {
                if let Err(error) = chunk {
                    return Err(mainstay_core::Error::from_boxed(error.into_inner()));
                }
            }
            Ok("whole")
        }),
    );
    let server = start(&bounded(|bounds| bounds.body_idle = SHORT.into()), router);
    let mut slow = server.connect().await;
    slow.send("POST /read HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n").await;
    // Slower than the bound in all, never between two bytes.
    for _ in 0..9 {
        tokio::time::sleep(SHORT / 5).await;
        slow.send("x").await;
    }
    assert_eq!(slow.answer().await.text(), "whole");

    let mut stuck = server.connect().await;
    stuck.send("POST /read HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhalf").await;
    stuck.answer().await.assert_problem_of(408);
    stuck.assert_closed().await;
    assert_eq!(server.stop().await.counted.timeouts.body_idle, 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed() {
    let server = start(&bounded(|bounds| bounds.write_idle = SHORT.into()), router());
    let mut http1 = server.connect().await;
    http1.send(get("/large")).await;
    let mut http2 = server.connect().await;
    http2.hello().await;
    // Room for 2 GiB on the connection and on the stream: then it is the socket that is full.
    http2.send(frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])).await;
    http2.send(frame(8, 0, 0, &[0x7f, 0, 0, 0])).await;
    http2.send(headers(1, true, "GET", "/large")).await;
    until(|| server.stats.snapshot().timeouts.write_idle == 2).await;
    until(|| server.stats.snapshot().open == 0).await;
    assert!(http1.rest().await.len() < 64 << 20);
    assert!(http2.rest().await.len() < 64 << 20);
    server.stop().await;
}

#[tokio::test]
async fn an_http2_peer_that_gives_no_room_is_closed() {
    let chunks =
        || futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 16 << 10])));
    let router = Router::new().route("/endless", on_get(move || async move { Body::from_stream(chunks()) }));
    let server = start(&bounded(|bounds| bounds.write_idle = SHORT.into()), router);
    let mut peer = server.connect().await;
    peer.hello().await;
    peer.send(headers(1, true, "GET", "/endless")).await;
    // All that it has room for is read; no WINDOW_UPDATE follows.
    peer.rest().await;
    assert_eq!(server.stop().await.counted.timeouts.write_idle, 1);
}

#[tokio::test]
async fn a_stream_without_events_is_not_taken_for_a_peer_that_does_not_read() {
    let quiet = || {
        futures_util::stream::once(async { Ok::<_, std::io::Error>("first") }).chain(
            futures_util::stream::once(async {
                tokio::time::sleep(SHORT * 4).await;
                Ok("last")
            }),
        )
    };
    let router = Router::new().route("/quiet", on_get(move || async move { Body::from_stream(quiet()) }));
    let config = bounded(|bounds| {
        bounds.write_idle = SHORT.into();
        bounds.keep_alive_idle = SHORT.into();
        bounds.header_read = SHORT.into();
    });
    let server = start(&config, router);
    let mut http2 = server.connect().await;
    http2.hello().await;
    http2.send(headers(1, true, "GET", "/quiet")).await;
    let mut http1 = server.connect().await;
    http1.send(get("/quiet")).await;
    assert_eq!(http1.answer().await.text(), "firstlast");
    assert_eq!(http2.frame_of_type(0).await.3, b"first");
    assert_eq!(http2.frame_of_type(0).await.3, b"last");
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start(&bounded(|bounds| bounds.keep_alive_idle = SHORT.into()), router());
    let mut http1 = server.connect().await;
    http1.send(get("/")).await;
    http1.answer().await;
    http1.assert_closed().await;
    let mut http2 = server.connect().await;
    http2.hello().await;
    http2.send(headers(1, true, "GET", "/")).await;
    // GOAWAY comes first.
    http2.frame_of_type(7).await;
    http2.rest().await;
    assert_eq!(server.stop().await.counted.timeouts.keep_alive_idle, 2);
}

#[tokio::test]
async fn an_old_connection_is_asked_to_end_and_finishes_what_it_has() {
    let router = Router::new().route(
        "/slow",
        on_get(|| async {
            tokio::time::sleep(SHORT * 3).await;
            "finished"
        }),
    );
    let server = start(&bounded(|bounds| bounds.connection_age = SHORT.into()), router);
    let mut http1 = server.connect().await;
    http1.send(get("/slow")).await;
    let mut http2 = server.connect().await;
    http2.hello().await;
    http2.send(headers(1, true, "GET", "/slow")).await;
    let mut idle = server.connect().await;
    idle.send("GE").await;
    let answer = http1.answer().await;
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("finished", Some("close")));
    http1.assert_closed().await;
    http2.frame_of_type(7).await;
    assert_eq!(http2.frame_of_type(0).await.3, b"finished");
    http2.rest().await;
    server.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_get_a_503() {
    let server = start(&bounded(|bounds| bounds.max_connections = 2), router());
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    for peer in [&mut first, &mut second] {
        peer.send(get("/")).await;
        assert_eq!(peer.answer().await.status, 200);
    }
    let mut third = server.connect().await;
    third.try_send(get("/")).await;
    let answer = third.answer().await;
    answer.assert_problem(503);
    assert!(answer.field("retry-after").is_some());
    third.assert_closed().await;
    // Room again.
    drop(first);
    until(|| server.stats.snapshot().open == 1).await;
    let mut fourth = server.connect().await;
    fourth.send(get("/")).await;
    assert_eq!(fourth.answer().await.status, 200);
    let counted = server.stop().await.counted;
    assert_eq!((counted.refused, counted.accepted), (1, 3));
}

#[tokio::test]
async fn streams_over_the_limit_are_refused_and_the_others_are_served() {
    let server = start(&bounded(|bounds| bounds.max_streams = 2), router());
    let mut peer = server.connect().await;
    peer.hello().await;
    for stream in [1, 3, 5] {
        peer.send(headers(stream, true, "GET", "/never")).await;
    }
    let (_, _, stream, code) = peer.frame_of_type(3).await;
    // REFUSED_STREAM: the request may be sent again.
    assert_eq!((stream, code), (5, vec![0, 0, 0, 7]));
    server.stop_now().await;
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_gets_its_answer() {
    let server = start(&config(), router());
    let mut peer = server.connect().await;
    peer.send(get("/")).await;
    peer.stream.shutdown().await.unwrap();
    assert_eq!(peer.answer().await.text(), "hello");
    peer.assert_closed().await;
    server.stop().await;
}

#[tokio::test]
async fn the_handler_of_a_peer_that_hangs_up_is_dropped() {
    let (router, mut told) = telling();
    let server = start(&config(), router.clone());
    let mut peer = server.connect().await;
    peer.send(get("/wait")).await;
    assert_eq!(within(told.recv()).await, Some(true));
    drop(peer);
    assert_eq!(within(told.recv()).await, Some(false));
    server.stop().await;

    let socket = std::env::temp_dir().join(format!("mainstay-hang-up-{}", std::process::id()));
    let mut config = config();
    config.address = format!("unix:{}", socket.display()).parse().unwrap();
    let server = start(&config, router);
    let mut peer = Peer { stream: tokio::net::UnixStream::connect(&socket).await.unwrap() };
    peer.send(get("/wait")).await;
    assert_eq!(within(told.recv()).await, Some(true));
    drop(peer);
    assert_eq!(within(told.recv()).await, Some(false));
    server.stop().await;
}

#[tokio::test]
async fn what_is_sent_ahead_is_no_hanging_up() {
    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let open = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gate = open.clone();
    let slow = move || {
        let (sender, gate) = (sender.clone(), gate.clone());
        async move {
            sender.send(()).unwrap();
            gate.acquire().await.unwrap().forget();
            "slow"
        }
    };
    let server = start(&config(), router().route("/slow", on_get(slow)));
    let mut peer = server.connect().await;
    peer.send(get("/slow")).await;
    within(begun.recv()).await.unwrap();
    peer.send(get("/")).await;
    // Time for the server to look at what came.
    tokio::time::sleep(SHORT).await;
    open.add_permits(1);
    assert_eq!(peer.answer().await.text(), "slow");
    assert_eq!(peer.answer().await.text(), "hello");
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_body_is_a_400_and_one_that_breaks_off_is_nobodys_fault() {
    let (sender, mut kinds) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new().route(
        "/read",
        post(move |body: Body| {
            let sender = sender.clone();
            async move {
                let error = axum::body::to_bytes(body, 100).await.expect_err("the body is not whole");
                let error = mainstay_core::Error::from_boxed(error.into_inner());
                sender.send(error.kind()).unwrap();
                error
            }
        }),
    );
    let server = start(&config(), router);
    let mut malformed = server.connect().await;
    malformed.send("POST /read HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").await;
    malformed.answer().await.assert_problem_of(400);
    assert_eq!(kinds.recv().await, Some(Kind::InvalidArgument));
    let mut gone = server.connect().await;
    gone.send("POST /read HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhalf").await;
    drop(gone);
    assert_eq!(kinds.recv().await, Some(Kind::Cancelled));
    assert_eq!(server.stop().await.counted.malformed, 1);
}

#[tokio::test]
async fn a_body_may_be_read_for_longer_than_it_is_answered() {
    let (sender, mut lengths) = tokio::sync::mpsc::unbounded_channel();
    let router = router().route(
        "/later",
        post(move |body: Body| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let read = axum::body::to_bytes(body, 100).await;
                sender.send(read.map(|body| body.len()).map_err(|error| format!("{error:?}")))
            });
            async { "accepted" }
        }),
    );
    let config = bounded(|bounds| {
        bounds.header_read = SHORT.into();
        bounds.keep_alive_idle = (SHORT * 20).into();
    });
    let server = start(&config, router);
    let mut peer = server.connect().await;
    peer.send("POST /later HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n").await;
    assert_eq!(peer.answer().await.text(), "accepted");
    // What arrives now is no head, and not bounded as one.
    peer.send("12345").await;
    tokio::time::sleep(SHORT * 2).await;
    peer.send("67890").await;
    assert_eq!(within(lengths.recv()).await, Some(Ok(10)));
    peer.send(get("/")).await;
    assert_eq!(peer.answer().await.text(), "hello");
    server.stop().await;
}

#[tokio::test]
async fn a_websocket_whose_peer_does_not_read_is_closed() {
    let router = Router::new().route(
        "/socket",
        any(|upgrade: axum::extract::ws::WebSocketUpgrade| async {
            upgrade.on_upgrade(|mut socket| async move {
                while socket.send(vec![0u8; 1 << 20].into()).await.is_ok() {}
            })
        }),
    );
    let server = start(&bounded(|bounds| bounds.write_idle = SHORT.into()), router);
    let mut peer = server.connect().await;
    peer.send(
        "GET /socket HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert_eq!(peer.head().await.0, 101);
    until(|| server.stats.snapshot().open == 0).await;
    assert_eq!(server.stop().await.counted.timeouts.write_idle, 1);
}
