//! Calls over HTTP, against real servers on loopback.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::convert::Infallible;

use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    http::{HeaderMap, Request, StatusCode},
    routing::{any, get},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use mainstay_client::{Client, Error};
use mainstay_core::error::Kind;
use mainstay_discovery::{Endpoint, Protocol, ServiceName, memory};
use support::{LONG, Server, client_of};

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
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, Infallible>>(1);
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
