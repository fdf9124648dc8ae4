//! The layer, and the route of the admin listener, as requests meet them.

use axum::{Extension, Router, body::Body, routing::get};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

const POLICIES: &str = r#"
permit(principal, action in Action::"read", resource == Order::"a/b ü");
permit(principal == User::"alice", action, resource == Service::"orders");
"#;

/// As the authentication would.
fn app(who: Option<Caller>) -> Router {
    let policies = policies(POLICIES);
    let routes = Router::new()
        .route(
            "/orders/{id}",
            get(async || "shown").layer(PolicyLayer::new(policies.clone(), "orders").on_path("Order", "id")),
        )
        .route(
            "/named",
            get(async || "named").layer(PolicyLayer::new(policies.clone(), "orders").with_action(READ)),
        )
        .route(
            "/fixed",
            get(async || "fixed").layer(
                PolicyLayer::new(policies.clone(), "x")
                    .with_action(READ)
                    .on(Resource::new("Service", "orders")),
            ),
        )
        .route("/undeclared", get(async || "never").layer(PolicyLayer::new(policies.clone(), "orders")))
        .route(
            "/pathless",
            get(async || "never").layer(PolicyLayer::new(policies, "orders").on_path("Order", "id")),
        );
    match who {
        Some(who) => routes.layer(Extension(who.into_principal())),
        None => routes,
    }
}

async fn send(app: &Router, request: Request<Body>) -> (StatusCode, http::HeaderMap, String) {
    let (head, body) = Response::into_parts(app.clone().oneshot(request).await.unwrap());
    (head.status, head.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap())
}

async fn status(app: &Router, method: &str, path: &str) -> StatusCode {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    send(app, request).await.0
}

#[tokio::test]
async fn the_route_is_the_action_and_a_part_of_the_path_the_resource() {
    let app = app(Some(alice()));
    // Decoded as the handler would have it.
    assert_eq!(status(&app, "GET", "/orders/a%2Fb%20%C3%BC").await, StatusCode::OK);
    assert_eq!(status(&app, "HEAD", "/orders/a%2Fb%20%C3%BC").await, StatusCode::OK);
    assert_eq!(status(&app, "GET", "/orders/other").await, StatusCode::FORBIDDEN);
    assert_eq!(status(&app, "GET", "/orders/%FF").await, StatusCode::FORBIDDEN);
    assert_eq!(status(&app, "DELETE", "/orders/a%2Fb%20%C3%BC").await, StatusCode::FORBIDDEN);
    assert_eq!(status(&app, "GET", "/named").await, StatusCode::OK);
    assert_eq!(status(&app, "GET", "/fixed").await, StatusCode::OK);
    assert_eq!(status(&app, "GET", "/undeclared").await, StatusCode::FORBIDDEN);
    assert_eq!(status(&app, "GET", "/pathless").await, StatusCode::FORBIDDEN);
    let nested = Router::new().nest("/orders/{id}", Router::new().route("/", get(async || "in")));
    let nested = nested
        .layer(PolicyLayer::new(policies(POLICIES), "orders"))
        .layer(Extension(alice().into_principal()));
    assert_eq!(status(&nested, "GET", "/orders/1/").await, StatusCode::FORBIDDEN);
    let bob = self::app(Some(Caller::user(ISSUER, "bob")));
    assert_eq!(status(&bob, "GET", "/named").await, StatusCode::FORBIDDEN);
    assert_eq!(status(&bob, "GET", "/orders/a%2Fb%20%C3%BC").await, StatusCode::OK);
}

#[tokio::test]
async fn who_is_refused_learns_nothing_of_the_policies() {
    let request = Request::get("/orders/other").body(Body::empty()).unwrap();
    let (status, head, body) = send(&app(Some(alice())), request).await;
    assert_eq!(
        (status, &head[header::CONTENT_TYPE]),
        (StatusCode::FORBIDDEN, &"application/problem+json".parse().unwrap())
    );
    assert!(!body.contains("policy") && !body.contains("Order") && !body.contains("permit"), "{body}");
}

#[tokio::test]
async fn without_authentication_around_it_the_layer_lets_nobody_in() {
    assert_eq!(status(&app(None), "GET", "/named").await, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn grpc_methods_are_actions_and_refusals_are_statuses() {
    let call = async |who: Caller, method: &str| {
        let app = Router::new()
            .fallback(async || "placed")
            .layer(PolicyLayer::new(policies(POLICIES), "orders"))
            .layer(Extension(who.into_principal()));
        let request = Request::post(method).header(header::CONTENT_TYPE, "application/grpc");
        let (status, head, _) = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        head.get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
    };
    assert_eq!(call(alice(), "/shop.Orders/Place").await, None);
    assert_eq!(call(alice(), "/shop.Orders/Cancel").await.as_deref(), Some("7"));
    assert_eq!(call(Caller::user(ISSUER, "bob"), "/shop.Orders/Place").await.as_deref(), Some("7"));
}

#[tokio::test]
async fn the_admin_listener_lists_policies_and_explains_decisions() {
    let admin = Router::new().route("/policy", policies(POLICIES).route());
    let (status, _, body) = send(&admin, Request::get("/policy").body(Body::empty()).unwrap()).await;
    let listed: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, listed["policies"].as_array().unwrap().len()), (StatusCode::OK, 2));
    assert_eq!(
        (&listed["policies"][0]["line"], &listed["actions"], &listed["refused"]),
        (&json!(2), &json!(5), &Value::Null)
    );

    let ask = async |question: Value| {
        let request = Request::post("/policy").header(header::CONTENT_TYPE, "application/json");
        let (status, _, body) = send(&admin, request.body(Body::from(question.to_string())).unwrap()).await;
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let question = json!({
        "principal": {"issuer": ISSUER, "subject": "alice"}, "action": READ, "resource": {"type": "Service", "id": "orders"}
    });
    let (status, answer) = ask(question.clone()).await;
    assert_eq!((status, &answer["outcome"]), (StatusCode::OK, &json!("permit")));
    assert_eq!(answer["policies"][0]["id"], "auth.policy.policies#2");
    let mut other = question.clone();
    other["action"] = json!("GET /nothing");
    assert_eq!(ask(other).await.1["outcome"], "invalid");
    let mut wrong = question;
    wrong["principal"]["name"] = json!("alice");
    let (status, answer) = ask(wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.to_string().contains("unknown field `name`"), "{answer}");
    assert_eq!(ask(json!("x".repeat(70_000))).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}
