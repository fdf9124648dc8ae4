//! Requests and answers as they should be.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use axum::{
    Router,
    body::Bytes,
    routing::{get as on_get, post},
};
use mainstay_core::{
    lifecycle::Phase,
    server::{Connection, Incoming, Protocol, Server, Shape},
};

use crate::support::{Peer, config, get, headers, shaped, start, start_service, within};

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

#[tokio::test]
async fn a_client_that_waits_is_told_to_continue() {
    let server = start(&config(), router());
    let mut peer = server.connect().await;
    peer.send("POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(peer.head().await.0, 100);
    peer.send("body").await;
    assert_eq!(peer.answer().await.text(), "body");
    server.stop().await;
}

#[tokio::test]
async fn what_was_found_out_of_a_connection_is_kept_with_it() {
    static FOUND: AtomicU32 = AtomicU32::new(0);
    let known = async |connection: Connection| {
        let number = connection.find_once(|| FOUND.fetch_add(1, Relaxed));
        // Of another type: something else.
        let text = connection.find_once(|| format!("of {number}"));
        format!("{number} {text}")
    };
    let server = start(&config(), Router::new().route("/", on_get(known)));
    for expected in ["0 of 0", "1 of 1"] {
        let mut peer = server.connect().await;
        for _ in 0..2 {
            peer.send(get("/")).await;
            assert_eq!(peer.answer().await.text(), expected);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed_unless_it_asks_for_more() {
    let server = start(&config(), router());
    let mut peer = server.connect().await;
    peer.send("GET / HTTP/1.0\r\n\r\n").await;
    let answer = peer.answer().await;
    assert!(answer.head.starts_with("HTTP/1.0 200"), "{answer:?}");
    assert_eq!(answer.text(), "hello");
    peer.assert_closed().await;

    let mut peer = server.connect().await;
    for _ in 0..2 {
        peer.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert_eq!(peer.answer().await.field("connection"), Some("keep-alive"));
    }
    server.stop().await;
}

#[tokio::test]
async fn an_answer_given_before_the_body_was_read_arrives() {
    let router =
        Router::new().route("/refuse", post(|| async { (http::StatusCode::PAYLOAD_TOO_LARGE, "too much") }));
    let server = start(&config(), router);
    let mut peer = server.connect().await;
    peer.send("POST /refuse HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n").await;
    // Without lingering, the reset that follows would destroy the answer.
    for _ in 0..80 {
        peer.try_send(vec![b'x'; 100_000]).await;
    }
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
    server.stop().await;
}

#[tokio::test]
async fn a_service_that_has_to_get_ready_is_waited_for() {
    let one_at_a_time = tower::ServiceBuilder::new()
        .concurrency_limit(1)
        .map_request(|request: http::Request<Incoming>| request.map(axum::body::Body::new))
        .service(router().route(
            "/slow",
            on_get(|| async {
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                "slow"
            }),
        ));
    let server = start_service(&config(), one_at_a_time);
    let mut peers = Vec::new();
    for _ in 0..5 {
        let mut peer = server.connect().await;
        peer.send(get("/slow").repeat(2)).await;
        peers.push(peer);
    }
    for peer in &mut peers {
        assert_eq!(peer.answer().await.text(), "slow");
        assert_eq!(peer.answer().await.text(), "slow");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_panic_costs_its_connection_and_is_counted() {
    let router = router().route(
        "/panic",
        on_get(|| async {
            if true {
                panic!("on purpose")
            }
        }),
    );
    for shape in [Shape::Shared, Shape::PerCore] {
        let server = start(&shaped(shape), router.clone());
        let mut http1 = server.connect().await;
        http1.send(get("/panic")).await;
        http1.assert_closed().await;
        // Over HTTP/2 it costs the stream only.
        let mut http2 = server.connect().await;
        http2.hello().await;
        http2.send(headers(1, true, "GET", "/panic")).await;
        http2.frame_of_type(3).await;
        http2.send(headers(3, true, "GET", "/")).await;
        assert_eq!(http2.frame_of_type(0).await.3, b"hello");
        let mut other = server.connect().await;
        other.send(get("/")).await;
        assert_eq!(other.answer().await.text(), "hello");
        let summary = server.stop().await;
        assert_eq!((summary.counted.panicked, summary.failed_workers, summary.left), (2, 0, 0));
    }
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_address_and_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for shape in [Shape::Shared, Shape::PerCore] {
        let mut config = shaped(shape);
        config.address = taken.local_addr().unwrap().into();
        let error = Server::bind(&config).expect_err("the port is taken");
        assert_eq!(
            error.to_string(),
            format!("can't listen on {} (server.address): address already in use", config.address)
        );
    }
}

#[tokio::test]
async fn a_port_that_serves_each_core_is_not_shared_with_another_server() {
    let first = start(&shaped(Shape::PerCore), router());
    let mut config = shaped(Shape::PerCore);
    config.address = first.address.into();
    assert!(Server::bind(&config).is_err());
    first.stop().await;
    let again = start(&config, router());
    again.stop().await;
}

#[tokio::test]
async fn settings_that_can_not_be_are_all_told() {
    let mut config = config();
    config.bounds.header_read = mainstay_core::config::Duration::ZERO;
    config.bounds.max_connections = 0;
    let error = Server::bind(&config).expect_err("the settings are wrong").to_string();
    assert!(
        error.contains("server.bounds.header_read") && error.contains("server.bounds.max_connections"),
        "{error}"
    );
}

#[tokio::test]
async fn a_unix_socket_serves_and_leaves_no_file() {
    let directory = std::env::temp_dir().join(format!("mainstay-server-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    // Left behind by a process that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    for shape in [Shape::Shared, Shape::PerCore] {
        let mut config = shaped(shape);
        config.address = format!("unix:{}", path.display()).parse().unwrap();
        let server = start(&config, router());
        let error = Server::bind(&config).expect_err("somebody listens there").to_string();
        assert!(error.contains("address already in use"), "{error}");
        let mut peer = Peer { stream: tokio::net::UnixStream::connect(&path).await.unwrap() };
        peer.send(get("/")).await;
        assert_eq!(peer.answer().await.text(), "hello");
        server.stop().await;
        assert!(!path.exists());
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
