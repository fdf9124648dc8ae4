use axum::{Router, routing::get};
use http::{Request, Response, StatusCode};
use tower::ServiceExt as _;

use super::*;
use crate::{
    Body,
    middleware::{context::ContextLayer, deadline::DeadlineLayer, shed::ShedLayer},
};

fn config(origins: &[&str]) -> Config {
    Config { origins: origins.iter().map(|origin| (*origin).to_owned()).collect(), ..Config::default() }
}

async fn send(config: &Config, method: Method, origin: &str) -> Response<Body> {
    let app = Router::new().route("/", get(|| async { "hello" })).layer(CorsLayer::new(config).unwrap());
    let mut request = Request::builder().method(method.clone()).header("origin", origin);
    if method == Method::OPTIONS {
        request = request.header("access-control-request-method", "PUT");
    }
    app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn only_a_listed_origin_is_allowed() {
    let config = config(&["https://shop.example"]);
    let response = send(&config, Method::GET, "https://shop.example").await;
    assert_eq!(response.headers()["access-control-allow-origin"], "https://shop.example");
    assert_eq!(response.headers()["access-control-expose-headers"], "x-request-id,retry-after");
    for origin in ["https://evil.example", "http://shop.example", "https://shop.example.evil.example", "null"]
    {
        let response = send(&config, Method::GET, origin).await;
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
    let nothing = send(&Config::default(), Method::GET, "https://shop.example").await;
    assert!(!nothing.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_preflight_is_answered() {
    let response = send(&config(&["https://shop.example"]), Method::OPTIONS, "https://shop.example").await;
    assert_eq!(response.status(), StatusCode::OK);
    let methods = response.headers()["access-control-allow-methods"].to_str().unwrap();
    assert!(methods.contains("PUT"), "{methods}");
    assert_eq!(response.headers()["access-control-max-age"], "600");
}

#[tokio::test]
async fn it_composes_with_the_bodies_of_the_other_layers() {
    let inner = tower::service_fn(|_: Request<Body>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Body::from("hello")))
    });
    let inner = ContextLayer::default().layer(DeadlineLayer::new().layer(ShedLayer::default().layer(inner)));
    let service = CorsLayer::new(&config(&["*"])).unwrap().layer(inner);
    let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
}

#[test]
fn what_can_not_work_is_refused_and_named() {
    let with_credentials = |mut config: Config| {
        config.credentials = true;
        config
    };
    let bad_name = Config { headers: vec!["a b".to_owned()], ..Config::default() };
    let bad_method = Config { methods: vec!["GE T".to_owned()], ..Config::default() };
    for (config, key) in [
        (config(&["shop.example"]), "origins"),
        (config(&["https://shop.example/"]), "origins"),
        (config(&["https://shop.example:443"]), "origins"),
        (config(&["https://Shop.example"]), "origins"),
        (config(&["https://me@shop.example"]), "origins"),
        (config(&["*", "https://shop.example"]), "origins"),
        (with_credentials(config(&["*"])), "origins"),
        (bad_name, "headers"),
        (bad_method, "methods"),
    ] {
        let mut findings = Findings::default();
        config.check(&mut findings);
        assert!(format!("{findings:?}").contains(key), "{config:?}");
        assert_eq!(CorsLayer::new(&config).unwrap_err().key, key);
    }
    assert!(CorsLayer::new(&config(&["http://localhost:3000", "https://shop.example"])).is_ok());
}
