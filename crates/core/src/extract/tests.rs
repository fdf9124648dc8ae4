use axum::{
    Router,
    routing::{get, post},
};
use http::Method;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tower::ServiceExt as _;

use super::*;
use crate::Body;

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only read into")]
#[serde(deny_unknown_fields)]
struct Order {
    quantity: u32,
}

fn app() -> Router {
    Router::new()
        .route("/json", post(|Json(order): Json<Order>| async move { order.quantity.to_string() }))
        .route("/optional", post(|order: Option<Json<Order>>| async move { order.is_none().to_string() }))
        .route("/form", post(|Form(order): Form<Order>| async move { order.quantity.to_string() }))
        .route("/query", get(|Query(order): Query<Order>| async move { order.quantity.to_string() }))
        .route("/one/{id}", get(|Path(id): Path<u32>| async move { id.to_string() }))
        .route("/two/{a}/{b}", get(|Path((a, b)): Path<(u32, u32)>| async move { (a + b).to_string() }))
        .route("/wrong/{a}/{b}", get(|_: Path<u32>| async {}))
}

async fn send(method: Method, path: &str, content_type: &str, body: &'static str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).header("content-type", content_type);
    let response = app().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_right_arrives() {
    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    for (method, path, content_type, body, answer) in [
        (Method::POST, "/json", JSON, r#"{"quantity":7}"#, "7"),
        (Method::POST, "/form", FORM, "quantity=7", "7"),
        (Method::GET, "/query?quantity=7", "", "", "7"),
        (Method::GET, "/one/7", "", "", "7"),
        (Method::GET, "/two/3/4", "", "", "7"),
    ] {
        let sent = send(method, path, content_type, body).await;
        assert_eq!(sent, (StatusCode::OK, answer.to_owned()), "{path}");
    }
    let none = app().oneshot(Request::post("/optional").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(none.into_body().collect().await.unwrap().to_bytes(), "true");
}

#[tokio::test]
async fn without_any_layer_a_rejection_is_a_problem_that_names_the_field() {
    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    for (method, path, content_type, body, status, field) in [
        (Method::POST, "/json", JSON, r#"{"quantity":"x"}"#, 422, "quantity"),
        (Method::POST, "/json", JSON, r#"{"quantity":1,"extra":2}"#, 422, "extra"),
        (Method::POST, "/form", FORM, "quantity=x", 422, "quantity"),
        (Method::GET, "/query?quantity=x", "", "", 400, "quantity"),
        (Method::GET, "/query", "", "", 400, "quantity"),
        (Method::GET, "/one/x", "", "", 400, "path"),
        (Method::GET, "/two/1/x", "", "", 400, "[1]"),
    ] {
        let (code, text) = send(method, path, content_type, body).await;
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code.as_u16(), problem["errors"][0]["field"].as_str()), (status, Some(field)), "{text}");
    }
    let (code, text) = send(Method::POST, "/json", "text/plain", "{}").await;
    assert_eq!(code, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{text}");
    assert!(text.contains("application/json"), "{text}");
}

#[tokio::test]
async fn a_wrong_number_of_parameters_is_a_fault_of_the_program() {
    let (code, text) = send(Method::GET, "/wrong/1/2", "", "").await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!text.contains("Path"), "{text}");
}

#[tokio::test]
async fn a_value_that_is_no_json_is_a_fault_that_tells_nothing() {
    let unwritable = std::collections::HashMap::from([(vec![1u8], 1u8)]);
    let response = Json(unwritable).into_response();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}
