use std::{collections::HashMap, convert::Infallible};

use axum::{
    Extension, Form, Json, Router,
    extract::{DefaultBodyLimit, Path, Query},
    response::IntoResponse,
    routing::{get, post},
};
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::{
    Body,
    middleware::{context::ContextLayer, probe},
};

#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "only read into")]
struct Order {
    quantity: u32,
}

#[derive(Clone)]
struct Absent;

fn app() -> Router {
    let own = || async { (StatusCode::BAD_REQUEST, "Failed, my own way: quantity") };
    let lookalike = || async { (StatusCode::IM_A_TEAPOT, "Failed to deserialize form: x") };
    let empty_typed = || async { (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html")]) };
    let slow = || async {
        let frames = futures_util::stream::iter(["Failed to deserialize", " query string: x"]);
        use futures_util::StreamExt as _;
        let body = Body::from_stream(frames.map(Ok::<_, Infallible>));
        (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body)
    };
    Router::new()
        .route("/orders", post(|_: Json<Vec<Order>>| async {}))
        .route("/form", post(|_: Form<Order>| async {}))
        .route("/query", get(|_: Query<Order>| async {}))
        .route("/items/{id}", get(|_: Path<HashMap<String, u32>>| async {}))
        .route("/fault", get(|_: Extension<Absent>| async {}))
        .route("/small", post(|_: String| async {}).layer(DefaultBodyLimit::max(4)))
        .route("/own", get(own))
        .route("/lookalike", get(lookalike))
        .route("/empty-typed", get(empty_typed))
        .route("/slow", get(slow))
        .route(
            "/unavailable",
            get(|| async { (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "9")]) }),
        )
        .layer(ProblemLayer::new())
        .layer(ContextLayer::default())
}

async fn send(request: Request<Body>) -> (http::response::Parts, Value) {
    let (parts, body) = app().oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    (parts, json)
}

fn with(method: &str, path: &str, content_type: &str, body: &'static str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request =
        if content_type.is_empty() { request } else { request.header("content-type", content_type) };
    request.body(Body::from(body)).unwrap()
}

async fn problem(request: Request<Body>, status: u16) -> Value {
    let (parts, json) = send(request).await;
    assert_eq!(parts.status, status, "{json}");
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json", "{json}");
    assert_eq!(json["status"], status);
    assert_eq!(json["trace_id"].as_str().unwrap().len(), 32);
    json
}

#[tokio::test]
async fn keeps_the_contract_of_a_layer() {
    probe::check(ProblemLayer::new()).await;
}

#[tokio::test]
async fn no_route_and_no_method_are_problems() {
    problem(with("GET", "/nowhere", "", ""), 404).await;
    let (parts, json) = send(with("DELETE", "/orders", "", "")).await;
    assert_eq!((parts.status, &json["status"]), (StatusCode::METHOD_NOT_ALLOWED, &Value::from(405)));
    assert_eq!(parts.headers[header::ALLOW], "POST");
    let (parts, _) = send(with("GET", "/unavailable", "", "")).await;
    assert_eq!(parts.headers[header::RETRY_AFTER], "9");
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
}

#[tokio::test]
async fn a_wrong_field_of_a_body_is_named() {
    const JSON: &str = "application/json";
    let cases = [
        (r#"[{"quantity":1},{"quantity":"two"}]"#, 422, "[1].quantity", "invalid type"),
        (r#"[{}]"#, 422, "[0].quantity", "missing"),
        (r#"[{"quantity":-1}]"#, 422, "[0].quantity", "invalid value"),
        (r#"[{"quantity":]"#, 400, "[0].quantity", "expected value"),
    ];
    for (body, status, field, detail) in cases {
        let json = problem(with("POST", "/orders", JSON, body), status).await;
        assert_eq!(json["errors"][0]["field"], field, "{json}");
        assert!(json["errors"][0]["detail"].as_str().unwrap().contains(detail), "{json}");
    }
    let json = problem(with("POST", "/orders", JSON, "{"), 422).await;
    assert!(json["detail"].as_str().unwrap().contains("expected a sequence"), "{json}");
    problem(with("POST", "/orders", "text/xml", "<a/>"), 415).await;
    problem(with("POST", "/small", "text/plain", "far too long"), 413).await;
}

#[tokio::test]
async fn a_wrong_field_of_a_form_a_query_or_a_path_is_named() {
    const FORM: &str = "application/x-www-form-urlencoded";
    for (request, status) in [
        (with("POST", "/form", FORM, "quantity=two"), 422),
        (with("GET", "/query?quantity=two", "", ""), 400),
        (with("POST", "/form", FORM, ""), 422),
        (with("GET", "/query", "", ""), 400),
    ] {
        let json = problem(request, status).await;
        assert_eq!(json["errors"][0]["field"], "quantity", "{json}");
    }
    problem(with("POST", "/form", "text/plain", ""), 415).await;
    let json = problem(with("GET", "/items/seven", "", ""), 400).await;
    assert_eq!(json["errors"][0]["field"], "id", "{json}");
    let json = problem(with("GET", "/items/%ff", "", ""), 400).await;
    assert_eq!(json["errors"][0]["field"], "id", "{json}");
}

#[tokio::test]
async fn a_mistake_in_the_program_is_a_500_that_tells_nothing() {
    let json = problem(with("GET", "/fault", "", ""), 500).await;
    assert!(!json.to_string().contains("Absent"), "{json}");
}

#[tokio::test]
async fn what_the_user_answered_is_not_touched() {
    for (path, status, body) in [
        ("/own", 400, "Failed, my own way: quantity"),
        ("/lookalike", 418, "Failed to deserialize form: x"),
        ("/empty-typed", 404, ""),
        ("/slow", 400, "Failed to deserialize query string: x"),
    ] {
        let (parts, json) = send(with("GET", path, "", "")).await;
        assert_eq!((parts.status.as_u16(), json), (status, Value::from(body)));
        assert_ne!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
    }
}

#[tokio::test]
async fn a_text_that_was_looked_at_keeps_its_length() {
    let (parts, _) = send(with("GET", "/own", "", "")).await;
    assert_eq!(parts.headers[header::CONTENT_LENGTH], "28");
    let service = tower::service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>((StatusCode::BAD_REQUEST, "my own").into_response())
    });
    let response = ProblemLayer::new().layer(service).oneshot(Request::new(Body::empty())).await.unwrap();
    let body = response.into_body();
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(6));
    assert!(!http_body::Body::is_end_stream(&body));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "my own");
}

#[tokio::test]
async fn the_answer_to_head_has_no_body() {
    let (parts, json) = send(with("HEAD", "/nowhere", "", "")).await;
    assert_eq!((parts.status, json), (StatusCode::NOT_FOUND, Value::from("")));
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
}

#[tokio::test]
async fn to_a_grpc_request_no_route_is_unimplemented() {
    let (parts, json) = send(with("POST", "/no.Service/Method", "application/grpc", "")).await;
    assert_eq!((parts.status, json), (StatusCode::OK, Value::from("")));
    assert_eq!(parts.headers["grpc-status"], HeaderValue::from_static("12"));
}
