use axum::{
    Router,
    routing::{get, post},
};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::{
    Body,
    config::ByteSize,
    middleware::{body_limit::BodyLimitLayer, probe, problem::ProblemLayer},
};

/// What `CompressionLayer` makes of `text`.
async fn packed(text: String, coding: &str) -> Bytes {
    let config = CompressionConfig { min_size: ByteSize::from_bytes(0) };
    let app = Router::new().route("/", get(|| async { text })).layer(CompressionLayer::new(config));
    let request = Request::get("/").header(header::ACCEPT_ENCODING, coding).body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], coding);
    response.into_body().collect().await.unwrap().to_bytes()
}

fn app(config: DecompressionConfig) -> Router {
    let echo = || post(|body: Bytes| async move { body.len().to_string() });
    Router::new().route("/", echo()).layer(DecompressionLayer::new(config))
}

async fn send(app: Router, coding: &str, body: impl Into<Body>) -> (http::response::Parts, String) {
    let app = app.layer(ProblemLayer::new());
    let request = Request::post("/").header(header::CONTENT_ENCODING, coding).body(body.into()).unwrap();
    let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts, String::from_utf8(body.to_vec()).unwrap())
}

fn noise(length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.alphanumeric()).take(length).collect()
}

#[tokio::test]
async fn keeps_the_contract_of_a_layer() {
    probe::check(DecompressionLayer::default()).await;
}

#[tokio::test]
async fn a_body_is_unpacked() {
    for (coding, header) in [("gzip", "gzip"), ("gzip", "X-GZip"), ("br", "br"), ("zstd", "zstd")] {
        let body = packed(noise(5000), coding).await;
        let config = DecompressionConfig { zstd: true, ..DecompressionConfig::default() };
        let (parts, text) = send(app(config), header, body).await;
        assert_eq!((parts.status, text.as_str()), (StatusCode::OK, "5000"), "{coding}");
    }
    let plain = app(DecompressionConfig::default());
    let (parts, text) = send(plain, "identity", "plain").await;
    assert_eq!((parts.status, text.as_str()), (StatusCode::OK, "5"));
}

#[tokio::test]
async fn a_body_that_unpacks_to_more_than_the_limit_is_413() {
    let body = packed(noise(300_000), "gzip").await;
    let config = DecompressionConfig { max_size: ByteSize::from_bytes(250_000), ..Default::default() };
    let (parts, _) = send(app(config), "gzip", body.clone()).await;
    assert_eq!(parts.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
    // A body limit further out is the one that counts, for what goes in and for what comes out.
    assert!(body.len() < 250_000);
    let limited = app(DecompressionConfig::default()).layer(BodyLimitLayer::overridable(250_000));
    assert_eq!(send(limited, "gzip", body.clone()).await.0.status, StatusCode::PAYLOAD_TOO_LARGE);
    let limited = app(config).layer(BodyLimitLayer::overridable(300_000));
    assert_eq!(send(limited, "gzip", body).await.0.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_unpacks_to_very_much_more_than_went_in_is_413() {
    let bomb = packed("0".repeat(1_000_000), "gzip").await;
    let (parts, _) = send(app(DecompressionConfig::default()), "gzip", bomb.clone()).await;
    assert_eq!(parts.status, StatusCode::PAYLOAD_TOO_LARGE);
    let lax = DecompressionConfig { max_ratio: 2000, ..DecompressionConfig::default() };
    assert_eq!(send(app(lax), "gzip", bomb).await.0.status, StatusCode::OK);
}

#[tokio::test]
async fn a_coding_that_is_not_known_is_415_and_says_which_are() {
    for coding in ["compress", "gzip, gzip", "zstd", ""] {
        let (parts, text) = send(app(DecompressionConfig::default()), coding, "x").await;
        assert_eq!(parts.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{coding}");
        assert_eq!(parts.headers[header::ACCEPT_ENCODING], "gzip, br");
        assert!(text.contains("gzip, br"), "{text}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_it_says_is_400() {
    let (parts, _) = send(app(DecompressionConfig::default()), "gzip", "not gzip at all").await;
    assert_eq!(parts.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn small_and_packed_answers_are_left_alone() {
    for (content_type, length, compressed) in [
        ("text/plain", 5000, true),
        ("text/plain", 100, false),
        ("video/mp4", 5000, false),
        ("application/grpc", 5000, false),
    ] {
        let answer = move || async move { ([(header::CONTENT_TYPE, content_type)], "x".repeat(length)) };
        let app = Router::new().route("/", get(answer)).layer(CompressionLayer::default());
        let request = Request::get("/").header(header::ACCEPT_ENCODING, "br").body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        let is_compressed = response.headers().contains_key(header::CONTENT_ENCODING);
        assert_eq!(is_compressed, compressed, "{content_type} {length}");
    }
}
