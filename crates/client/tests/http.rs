//! Calls over HTTP, against real servers on loopback.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::{convert::Infallible, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    http::{HeaderMap, Request, StatusCode},
    routing::{any, get},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use mainstay_client::{Client, Config, Error, discovery::fixed::Fixed};
use mainstay_core::{
    context::{Deadline, RequestContext, parse_timeout},
    error::Kind,
    server,
};
use mainstay_discovery::{Endpoint, Protocol, ServiceName, memory};
use support::{LONG, Server, client_of, raw::Raw};
use tokio::sync::mpsc;

fn echo() -> Router {
    Router::new()
        .route("/items/{id}", get(|Path(id): Path<u32>| async move { Json(serde_json::json!({ "id": id })) }))
        .route("/echo", any(|request: Request<Body>| async move { request.into_body() }))
        .route(
            "/headers",
            any(|headers: HeaderMap| async move {
                let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
                let all: std::collections::BTreeMap<_, _> =
                    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
                Json(all)
            }),
        )
}

#[tokio::test]
async fn requests_in_a_row_use_one_connection() {
    let server = Server::start(echo()).await;
    let client = client_of([server.endpoint()]);
    for id in 0..20 {
        let response = client.get(format!("http://stock/items/{id}")).send().await.unwrap();
        let item: serde_json::Value = response.error_for_status().unwrap().json().await.unwrap();
        assert_eq!(item["id"], id);
    }
    let text = client.post("http://stock/echo").json(&[1, 2]).send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "[1,2]");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn an_endpoint_that_speaks_http2_is_called_so() {
    let router = Router::new()
        .route("/", get(|request: Request<Body>| async move { format!("{:?}", request.version()) }));
    let server = Server::start(router).await;
    let endpoint = server.endpoint().with_protocol(Protocol::Http2);
    let client = client_of([endpoint]);
    let calls =
        (0..20).map(|_| async { client.get("http://stock/").send().await.unwrap().text().await.unwrap() });
    for version in futures_util::future::join_all(calls).await {
        assert_eq!(version, "HTTP/2.0");
    }
    assert_eq!(server.accepted(), 1, "all requests share one connection");
}

#[tokio::test]
async fn a_name_without_endpoints_says_what_is_known_and_a_registration_is_seen_at_once() {
    let registry = memory::Registry::new();
    let stock: ServiceName = "stock".parse().unwrap();
    let other: ServiceName = "orders".parse().unwrap();
    let _other = registry.register(&other, Endpoint::tcp("127.0.0.1", 9));
    let client = Client::new(registry.clone());

    let error = client.get("http://stock/items/1").send().await.unwrap_err();
    let Error::NoEndpoint(event) = &error else { panic!("{error:?}") };
    assert_eq!((&event.service, &event.known), (&stock, &vec![other]));
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::Unavailable);

    let server = Server::start(echo()).await;
    let lease = registry.register(&stock, server.endpoint());
    assert_eq!(client.get("http://stock/items/1").send().await.unwrap().status(), StatusCode::OK);
    drop(lease);
    assert!(matches!(client.get("http://stock/items/1").send().await, Err(Error::NoEndpoint(_))));
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let server = Server::start(echo()).await;
    let client = client_of([server.endpoint()]);
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let stream =
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) });
    let request = Request::post("http://stock/echo").body(Body::from_stream(stream)).unwrap();
    sender.send(Ok(Bytes::from_static(b"first"))).await.unwrap();
    let response = tokio::time::timeout(LONG, client.send(request)).await.unwrap().unwrap();
    let mut body = response.into_body().into_data_stream();
    // The answer to the first part is here before the second is sent.
    assert_eq!(body.next().await.unwrap().unwrap(), "first");
    sender.send(Ok(Bytes::from_static(b"second"))).await.unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), "second");
    drop(sender);
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_request_that_may_not_go_on_keeps_the_reason() {
    let reads = Router::new().route("/echo", any(async |body: Bytes| body));
    let server = Server::start(reads).await;
    let client = client_of([server.endpoint()]);
    let body = Body::new(http_body_util::Limited::new(Body::from(vec![b'x'; 1 << 20]), 1 << 10));
    let request = Request::post("http://stock/echo").body(body).unwrap();
    let error = tokio::time::timeout(LONG, client.send(request)).await.unwrap().unwrap_err();
    assert!(matches!(error, mainstay_client::Error::Request(_)), "{error:?}");
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::ContentTooLarge);
}

#[tokio::test]
async fn a_unix_socket_is_an_endpoint_as_any() {
    let path = std::env::temp_dir().join(format!("mainstay-client-{}.sock", std::process::id()));
    let mut config = server::Config::default();
    config.address = format!("unix:{}", path.display()).parse().unwrap();
    let server = Server::start_with(&config, echo()).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let client = client_of([Endpoint::unix(&path).with_protocol(protocol)]);
        let text = client.post("http://stock/echo").body("x").send().await.unwrap().text().await.unwrap();
        assert_eq!(text, "x");
    }
    server.drain().await;
}

async fn headers_sent(client: &Client) -> serde_json::Value {
    client.get("http://stock/headers").send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn what_belongs_to_the_request_goes_with_each_call() {
    let server = Server::start(echo()).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let client = client_of([server.endpoint().with_protocol(protocol)]);
        let context = RequestContext::new().with_attempt(2).with_deadline(Deadline::after(LONG));
        let sent = context.clone().scope(headers_sent(&client)).await;
        assert_eq!(sent["x-request-id"], context.request_id().to_string());
        assert_eq!(sent["x-request-attempt"], "2");
        assert_eq!(sent["x-request-criticality"], "critical");
        let trace_id = context.trace().trace_id().to_string();
        assert_eq!(sent["traceparent"].as_str().unwrap()[3..35], trace_id);
        if protocol == Protocol::Http1 {
            assert_eq!(sent["host"], "stock");
        }

        let left = |sent: &serde_json::Value| {
            parse_timeout(sent["x-request-timeout"].as_str().unwrap().as_bytes()).unwrap()
        };
        let first = left(&sent);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let second = left(&context.scope(headers_sent(&client)).await);
        assert!(second + Duration::from_millis(2) <= first, "{first:?}, then {second:?}");

        let sent = headers_sent(&client).await;
        assert_eq!(sent["x-request-timeout"], serde_json::Value::Null, "a default is not sent");
    }
}

#[tokio::test]
async fn no_attempt_is_made_when_nothing_is_left() {
    let server = Server::start(echo()).await;
    let client = client_of([server.endpoint()]);
    let context = RequestContext::new().with_deadline(Deadline::after(Duration::ZERO));
    let error = context.scope(client.get("http://stock/headers").send()).await.unwrap_err();
    let Error::Elapsed(event) = &error else { panic!("{error:?}") };
    assert_eq!(event.endpoint, None);
    assert!(error.is_elapsed());
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::DeadlineExceeded);
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_named_when_the_time_is_over() {
    let raw = Raw::listen().await;
    let mut config = Config::default();
    config.timeout = Duration::from_millis(50).into();
    let client =
        Client::builder().config(config).build(Fixed::new().with("stock", [raw.endpoint()]).unwrap());
    for timeout in [None, Some(Duration::from_millis(40))] {
        let mut request = client.get("http://stock/");
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        let call = tokio::spawn(request.send());
        let mut connection = raw.accept().await;
        connection.head().await.unwrap();
        let error = tokio::time::timeout(LONG, call).await.unwrap().unwrap().unwrap_err();
        assert!(error.to_string().contains(&raw.address.to_string()), "{error}");
        assert!(error.is_elapsed());
        // Giving up reaches the peer: the connection is closed.
        assert_eq!(connection.head().await, None);
    }
}

#[tokio::test]
async fn an_explicit_deadline_bounds_the_body_and_a_default_does_not_bound_a_stream() {
    let raw = Raw::listen().await;
    let mut config = Config::default();
    config.timeout = Duration::from_millis(300).into();
    let client =
        Client::builder().config(config).build(Fixed::new().with("stock", [raw.endpoint()]).unwrap());
    let peer = tokio::spawn(async move {
        let mut connection = raw.accept().await;
        connection.head().await.unwrap();
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1").await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        connection.write("2").await;

        connection.head().await.unwrap();
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1").await;
        assert_eq!(connection.head().await, None, "closed by the client");
    });
    let stream = client.get("http://stock/").send().await.unwrap().into_inner().into_body();
    assert_eq!(axum::body::to_bytes(stream, 2).await.unwrap(), "12");
    let response = client.get("http://stock/").timeout(Duration::from_millis(300)).send().await.unwrap();
    let error = tokio::time::timeout(LONG, response.text()).await.unwrap().unwrap_err();
    assert!(error.is_elapsed(), "{error:?}");
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::DeadlineExceeded);
    peer.await.unwrap();
}

/// Tells when a handler was dropped before it was done.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn dropping_a_call_resets_its_stream_and_keeps_the_connection() {
    let (started, mut is_started) = mpsc::unbounded_channel();
    let (dropped, mut is_dropped) = mpsc::unbounded_channel();
    let slow = move || {
        let (started, dropped) = (started.clone(), Dropped(dropped.clone()));
        async move {
            started.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(dropped);
        }
    };
    let server = Server::start(echo().route("/slow", get(slow))).await;
    let client = client_of([server.endpoint().with_protocol(Protocol::Http2)]);
    let call = tokio::spawn(client.get("http://stock/slow").send());
    tokio::time::timeout(LONG, is_started.recv()).await.unwrap().unwrap();
    call.abort();
    tokio::time::timeout(LONG, is_dropped.recv()).await.unwrap().unwrap();
    client.get("http://stock/items/1").send().await.unwrap();
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn dropping_a_call_or_the_body_of_its_answer_closes_an_http1_connection() {
    let raw = Raw::listen().await;
    let client = client_of([raw.endpoint()]);
    let call = tokio::spawn(client.get("http://stock/").send());
    let mut connection = raw.accept().await;
    connection.head().await.unwrap();
    call.abort();
    assert_eq!(connection.head().await, None);

    let call = tokio::spawn(client.get("http://stock/").send());
    let mut connection = raw.accept().await;
    connection.head().await.unwrap();
    connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1").await;
    drop(call.await.unwrap().unwrap());
    assert_eq!(connection.head().await, None);
}

#[tokio::test]
async fn a_body_larger_than_the_bound_is_not_read() {
    let server = Server::start(Router::new().route("/", get(|| async { "x".repeat(4096) }))).await;
    let client = client_of([server.endpoint()]);
    let response = client.get("http://stock/").send().await.unwrap();
    let error = response.with_max_body(4095).bytes().await.unwrap_err();
    assert!(matches!(error, Error::Body(_)), "{error:?}");
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::BadGateway, "not the fault of our caller");
    let response = client.get("http://stock/").send().await.unwrap();
    assert_eq!(response.with_max_body(4096).bytes().await.unwrap().len(), 4096);
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed_and_closing_waits_for_the_others() {
    let raw = Raw::listen().await;
    let mut config = Config::default();
    config.pool.idle_timeout = Duration::from_millis(50).into();
    let client =
        Client::builder().config(config).build(Fixed::new().with("stock", [raw.endpoint()]).unwrap());
    let call = tokio::spawn(client.get("http://stock/").send());
    let mut connection = raw.accept().await;
    connection.head().await.unwrap();
    connection.ok("").await;
    call.await.unwrap().unwrap();
    // No other request comes, and the connection is closed all the same.
    assert_eq!(connection.head().await, None);
    client.close(LONG).await.unwrap();

    let call = tokio::spawn(client.get("http://stock/").send());
    let mut connection = raw.accept().await;
    connection.head().await.unwrap();
    assert!(client.close(Duration::from_millis(10)).await.is_err());
    connection.ok("").await;
    call.await.unwrap().unwrap();
    client.close(LONG).await.unwrap();
}

#[tokio::test]
async fn urls_that_name_no_service_are_refused_with_a_reason() {
    let client = client_of([]);
    for (url, reason) in [
        ("http://127.0.0.1:8081/", "discovery.static"),
        ("http://example.com/", "discovery.static"),
        ("https://stock/", "whether TLS is spoken"),
        ("http://Stock/", "only a-z"),
        ("not a url", "invalid"),
    ] {
        let error = client.get(url).send().await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{url}: {error:?}");
        let text = mainstay_core::error::Report::new(&error).to_string();
        assert!(text.contains(reason), "{url}: {text}");
    }
    let error = client.get("http://stock/").header("bad name", "x").send().await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
}

#[test]
fn each_runtime_drives_its_own_connections() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (serving, one, two) = (runtime(), runtime(), runtime());
    let server = serving.block_on(Server::start(echo()));
    let client = client_of([server.endpoint()]);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || serving.block_on(stopped));
    let call = || async { client.get("http://stock/items/1").send().await.unwrap().text().await.unwrap() };
    for _ in 0..3 {
        // Only the one that calls is running: a connection of the other would never answer.
        one.block_on(async { tokio::time::timeout(LONG, call()).await.unwrap() });
        two.block_on(async { tokio::time::timeout(LONG, call()).await.unwrap() });
    }
    assert_eq!(server.accepted(), 2);
    stop.send(()).unwrap();
    thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn reading_a_whole_body_is_bounded_where_no_deadline_is() {
    let raw = Raw::listen().await;
    let mut config = Config::default();
    config.timeout = Duration::from_millis(200).into();
    let client =
        Client::builder().config(config).build(Fixed::new().with("stock", [raw.endpoint()]).unwrap());
    let call = tokio::spawn(client.get("http://stock/").send());
    let mut connection = raw.accept().await;
    connection.head().await.unwrap();
    connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx").await;
    let answer = call.await.unwrap().unwrap();
    let read = tokio::time::timeout(LONG, answer.text()).await.expect("it ends");
    let error = read.unwrap_err();
    assert!(error.is_elapsed(), "{error:?}");
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::DeadlineExceeded);
}
