use http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt;

use super::*;
use crate::{
    Body,
    middleware::probe::{self, Probe, Until},
};

fn layer(max: u32) -> ConcurrencyLayer {
    ConcurrencyLayer::new(Config { max, ..Config::default() })
}

fn request() -> Request<Body> {
    Request::new(Body::empty())
}

#[tokio::test]
async fn keeps_the_contract_of_a_layer() {
    probe::check(layer(2)).await;
}

#[tokio::test]
async fn the_bound_is_one_for_all_clones_and_holds_until_the_body_ends() {
    let layer = layer(1);
    let service = layer.layer(Probe::new(Until::End));
    let other = layer.clone().layer(Probe::new(Until::End));
    let first = service.clone().oneshot(request()).await.unwrap();
    let refused = other.clone().oneshot(request()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    first.into_body().collect().await.unwrap();
    let third = other.oneshot(request()).await.unwrap();
    assert_eq!(third.status(), StatusCode::OK);
    drop(third);
    assert_eq!(layer.in_flight(), 0);
}

#[tokio::test]
async fn what_is_dropped_gives_its_room_back() {
    let layer = layer(1);
    let mut service = layer.layer(Probe::new(Until::Handler));
    let service = ServiceExt::<Request<Body>>::ready(&mut service).await.unwrap();
    let held = service.call(request());
    assert_eq!(layer.in_flight(), 1);
    drop(held);
    assert_eq!(layer.in_flight(), 0);
}
