//! Requests and answers as they should be.

use axum::{
    Router,
    body::Bytes,
    routing::{get as on_get, post},
};
use mainstay_core::{
    lifecycle::Phase,
    server::{Connection, Protocol, Shape},
};

use crate::support::{config, get, shaped, start, within};

fn router() -> Router {
    Router::new()
        .route("/", on_get(|| async { "hello" }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route(
            "/peer",
            on_get(|connection: Connection| async move {
                assert_eq!(connection.protocol(), Protocol::Http1);
                connection.remote().unwrap().to_string()
            }),
        )
}

#[tokio::test]
async fn a_connection_takes_one_request_after_the_other() {
    let server = start(&config(), router());
    let mut peer = server.connect().await;
    for _ in 0..3 {
        peer.send(get("/")).await;
        assert_eq!(peer.answer().await.text(), "hello");
    }
    let summary = server.stop().await;
    assert_eq!(summary.counted.accepted, 1);
    assert_eq!(summary.counted.open, 0);
    peer.assert_closed().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(&config(), router());
    let mut peer = server.connect().await;
    let echo = |text: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{text}", text.len())
    };
    peer.send([echo("one"), echo("two"), get("/"), echo("three")].concat()).await;
    for expected in ["one", "two", "hello", "three"] {
        assert_eq!(peer.answer().await.text(), expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_handler_sees_who_is_there() {
    let server = start(&config(), router());
    let mut peer = server.connect().await;
    peer.send(get("/peer")).await;
    assert_eq!(peer.answer().await.text(), peer.stream.local_addr().unwrap().to_string());
    server.stop().await;
}

#[tokio::test]
async fn each_core_serves_on_its_own() {
    let server = start(&shaped(Shape::PerCore), router());
    for _ in 0..20 {
        let mut peer = server.connect().await;
        peer.send(get("/")).await;
        assert_eq!(peer.answer().await.text(), "hello");
    }
    let summary = within(server.stop()).await;
    assert_eq!((summary.counted.accepted, summary.failed_workers, summary.left), (20, 0, 0));
}

#[tokio::test]
async fn answers_say_close_once_the_drain_is_announced_and_connections_are_still_accepted() {
    let server = start(&config(), router());
    let mut early = server.connect().await;
    early.send(get("/")).await;
    assert_eq!(early.answer().await.field("connection"), None);
    server.advance(Phase::Announced);
    early.send(get("/")).await;
    let mut late = server.connect().await;
    late.send(get("/")).await;
    for peer in [&mut early, &mut late] {
        assert_eq!(peer.answer().await.field("connection"), Some("close"));
        peer.assert_closed().await;
    }
    server.stop().await;
}
