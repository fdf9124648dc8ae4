//! What a caller of the example sees.
#![allow(clippy::unwrap_used, reason = "a test")]

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use layers_in_axum::app;
use mainstay_core::middleware::{recover::Panics, shed::Limiter};
use serde_json::Value;
use tower::ServiceExt as _;

struct Answer {
    status: StatusCode,
    content_type: String,
    json: Value,
}

async fn send(panics: &Panics, request: Request<Body>) -> Answer {
    let response = app(Limiter::default(), panics.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "example-1");
    let status = response.status();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Answer { status, content_type, json: serde_json::from_slice(&body).unwrap() }
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("x-request-id", "example-1").body(Body::empty()).unwrap()
}

fn post(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/notes").header("x-request-id", "example-1");
    request.header("content-type", "application/json").body(body.into()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_a_problem_document() {
    let panics = Panics::default();
    let good = send(&panics, get("/notes/1")).await;
    assert_eq!((good.status, &good.json["text"]), (StatusCode::OK, &Value::from("the first")));

    for (request, status, field) in [
        (get("/nowhere"), 404, None),
        (get("/notes/2"), 404, None),
        (get("/notes/x"), 400, Some("path")),
        (post("{}"), 422, Some("text")),
        (post("x".repeat(65 * 1024)), 413, None),
        (get("/report"), 504, None),
        (get("/bug"), 500, None),
    ] {
        let answer = send(&panics, request).await;
        assert_eq!(answer.status, status, "{}", answer.json);
        assert_eq!(answer.content_type, "application/problem+json");
        assert_eq!(answer.json["instance"], "urn:mainstay:request:example-1");
        assert_eq!(answer.json["errors"][0]["field"].as_str(), field, "{}", answer.json);
    }
    assert_eq!(panics.count(), 1);
}
