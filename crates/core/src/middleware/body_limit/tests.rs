use std::convert::Infallible;

use axum::{
    Json, Router,
    routing::{get, post},
};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::{
    Body,
    middleware::{probe, problem::ProblemLayer},
};

fn app() -> Router {
    let echo = || post(|body: Bytes| async move { body.len().to_string() });
    Router::new()
        .route("/", echo())
        .route("/large", echo().layer(BodyLimitLayer::new(4 << 20)))
        .route("/small", echo().layer(BodyLimitLayer::new(2)))
        .route("/json", post(|Json(text): Json<String>| async move { text }))
        .route("/unread", post(|| async { "unread" }))
        .route("/get", get(|| async { "got" }))
        .layer(BodyLimitLayer::overridable(16))
        .layer(ProblemLayer::new())
}

fn known(path: &str, length: usize) -> Request<Body> {
    let request =
        Request::post(path).header("content-length", length).header("content-type", "application/json");
    request.body(Body::from(vec![b'"'; length])).unwrap()
}

fn unknown(path: &str, length: usize) -> Request<Body> {
    let frames = (0..length).map(|_| Ok::<_, Infallible>(Bytes::from_static(b"\"")));
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Body::from_stream(futures_util::stream::iter(frames))).unwrap()
}

async fn send(request: Request<Body>) -> (StatusCode, String) {
    let response = app().oneshot(request).await.unwrap();
    let status = response.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn keeps_the_contract_of_a_layer() {
    probe::check(BodyLimitLayer::new(16)).await;
}

#[tokio::test]
async fn up_to_the_limit_a_body_passes_and_one_byte_more_is_413() {
    for request in [known as fn(&str, usize) -> Request<Body>, unknown] {
        assert_eq!(send(request("/", 16)).await, (StatusCode::OK, "16".to_owned()));
        assert_eq!(send(request("/", 17)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(send(request("/json", 17)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[tokio::test]
async fn a_route_raises_or_lowers_the_limit() {
    for request in [known as fn(&str, usize) -> Request<Body>, unknown] {
        // More than axum's own limit of 2 MB is not needed to see that the outer one is overridden.
        assert_eq!(send(request("/large", 5000)).await, (StatusCode::OK, "5000".to_owned()));
        assert_eq!(send(request("/small", 3)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(send(request("/small", 2)).await.0, StatusCode::OK);
    }
    assert_eq!(send(known("/large", 3 << 20)).await, (StatusCode::OK, (3 << 20).to_string()));
    assert_eq!(send(known("/large", (4 << 20) + 1)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_length_over_the_limit_is_answered_before_anything_is_read_or_called() {
    let layer = BodyLimitLayer::new(16);
    let probe = probe::Probe::new(probe::Until::End);
    let seen = std::sync::Arc::clone(&probe.seen);
    let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
    let request = Request::post("/").header("content-length", 17).body(body).unwrap();
    let response = layer.layer(probe).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(seen.calls.load(Ordering::Relaxed), 0);

    let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
    let request = Request::post("/").header("content-length", 17).body(body).unwrap();
    assert_eq!(send(request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(send(known("/unread", 17)).await, (StatusCode::OK, "unread".to_owned()));
    assert_eq!(send(Request::get("/get").body(Body::empty()).unwrap()).await.1, "got");
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn over_grpc_it_is_resource_exhausted_for_tonic_too() {
    let service = tower::service_fn(|request: Request<RequestBody<Body>>| async move {
        // What tonic does with the body of a request.
        let mut body = tonic::body::Body::new(request.into_body());
        let status = body.frame().await.unwrap().unwrap_err();
        Ok::<_, Infallible>(status.into_http::<Body>())
    });
    let mut request = unknown("/", 17);
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    let service = BodyLimitLayer::overridable(0).layer(service);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "8");

    let mut request = known("/", 17);
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    let response =
        BodyLimitLayer::new(16).layer(probe::Probe::new(probe::Until::End)).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "8");
}
