use std::convert::Infallible;

use axum::{Router, routing::get};
use futures_util::StreamExt as _;
use http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::{
    Body,
    middleware::{context::ContextLayer, probe},
    panics,
};

fn request() -> Request<Body> {
    Request::builder().header("x-request-id", "id-5").body(Body::empty()).unwrap()
}

async fn boom() {
    panic!("the secret is hunter2")
}

#[tokio::test]
async fn keeps_the_contract_of_a_layer() {
    probe::check(RecoverLayer::default()).await;
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_that_tells_nothing_and_is_counted() {
    let panics = Panics::default();
    let app = Router::new()
        .route("/", get(boom))
        .layer(RecoverLayer::new(panics.clone()))
        .layer(ContextLayer::default());
    let response = app.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["instance"], "urn:mainstay:request:id-5");
    assert!(!String::from_utf8_lossy(&body).contains("hunter2"));
    assert_eq!(panics.count(), 1);
}

#[tokio::test]
async fn a_panic_is_an_internal_status_over_grpc() {
    let app = Router::new().route("/", axum::routing::post(boom)).layer(RecoverLayer::default());
    let mut request = request();
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &"13".parse().unwrap())
    );
}

#[tokio::test]
async fn a_panic_in_call_itself_is_caught() {
    let panics = Panics::default();
    let service = tower::service_fn(|request: Request<Body>| {
        assert!(request.headers().is_empty(), "in call");
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    let response = RecoverLayer::new(panics.clone()).layer(service).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(panics.count(), 1);
}

#[tokio::test]
async fn a_panic_in_a_body_ends_that_body_with_an_error() {
    let panics = Panics::default();
    let stream = || async {
        let frames = futures_util::stream::iter(0..3).map(|number| {
            assert!(number < 2, "in the body");
            Ok::<_, Infallible>(number.to_string())
        });
        Body::from_stream(frames)
    };
    let service = tower::service_fn(move |_: Request<Body>| {
        let body = stream();
        async move { Ok::<_, Infallible>(Response::new(body.await)) }
    });
    let response = RecoverLayer::new(panics.clone()).layer(service).oneshot(request()).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "0");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "1");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is::<Panicked>());
    assert!(body.frame().await.is_none());
    assert_eq!(panics.count(), 1);
}

#[tokio::test]
async fn a_future_that_panics_again_when_it_is_dropped_is_still_answered() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("in the destructor");
            }
        }
    }
    struct Boom(#[allow(dead_code, reason = "held for its destructor")] Bomb);
    impl std::future::Future for Boom {
        type Output = Result<Response<Body>, Infallible>;
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            panic!("at the poll")
        }
    }
    let panics = Panics::default();
    let service = tower::service_fn(|_: Request<Body>| Boom(Bomb));
    let response = RecoverLayer::new(panics.clone()).layer(service).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(panics.count(), 2);
}

#[test]
fn the_message_and_the_place_are_known() {
    panics::install();
    let caught = panics::guard(|| panic!("number {}", 7)).unwrap_err();
    assert_eq!(caught.message, "number 7");
    assert!(caught.location.contains("recover/tests.rs:"), "{}", caught.location);
    // Guards nest: the outer one is still there after an inner one.
    let outer = panics::guard(|| {
        let inner = panics::guard(|| panic!("inner")).unwrap_err();
        panic!("outer after {}", inner.message)
    });
    assert_eq!(outer.unwrap_err().message, "outer after inner");
}
