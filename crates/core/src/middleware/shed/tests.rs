use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::{
    Body,
    config::{Findings, Section as _},
    context::{CRITICALITY, Criticality},
    middleware::context::{Context, ContextLayer},
    middleware::probe::{self, Probe, Until},
};

fn fixed(limit: u32) -> Limiter {
    Limiter::new(Config { initial: limit, min: limit, max: limit, ..Config::default() })
}

fn request(criticality: Criticality) -> Request<Body> {
    Request::builder().header(CRITICALITY, criticality.as_str()).body(Body::empty()).unwrap()
}

/// Inside the layer that tells it what the request is.
fn shed<S>(limiter: &Limiter, inner: S) -> Context<Shed<S>> {
    ContextLayer::default().layer(ShedLayer::new(limiter.clone()).layer(inner))
}

async fn ready<S: Service<Request<Body>, Error = Infallible>>(service: &mut S) -> &mut S {
    service.ready().await.unwrap()
}

#[tokio::test]
async fn keeps_the_contract_of_a_layer() {
    probe::check(ShedLayer::default()).await;
}

#[tokio::test]
async fn what_there_is_no_room_for_is_refused_and_may_come_back() {
    let limiter = fixed(1);
    let mut service = shed(&limiter, Probe::new(Until::Handler));
    let held = ready(&mut service).await.call(request(Criticality::CriticalPlus));
    // The second one stands in another clone: the limit is one for all.
    let refused = service.clone().oneshot(request(Criticality::CriticalPlus)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");

    let mut grpc = request(Criticality::CriticalPlus);
    *grpc.method_mut() = http::Method::POST;
    grpc.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let refused = service.clone().oneshot(grpc).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "14");
    assert_eq!(limiter.snapshot().refused, [0, 0, 0, 2]);

    drop(held);
    assert_eq!(limiter.snapshot().in_flight, 0);
    let admitted = ready(&mut service).await.call(request(Criticality::CriticalPlus)).now_or_never();
    assert!(admitted.is_none(), "it was refused");
}

#[tokio::test]
async fn each_class_has_its_share() {
    let limiter = fixed(10);
    let mut service = shed(&limiter, Probe::new(Until::Handler));
    let mut held = Vec::new();
    for (class, most) in Criticality::ALL.into_iter().zip([5, 7, 9, 10]) {
        for _ in 0..12 {
            let mut call = Box::pin(ready(&mut service).await.call(request(class)));
            if call.as_mut().now_or_never().is_none() {
                held.push(call);
            }
        }
        assert_eq!(held.len(), most, "{class:?}");
    }
    assert_eq!(limiter.snapshot().refused, [7, 10, 10, 11]);
}

fn streaming(
    content_type: &'static str,
    status: StatusCode,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone {
    tower::service_fn(move |_: Request<Body>| async move {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
        let mut response = Response::new(body);
        response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        *response.status_mut() = status;
        Ok(response)
    })
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_made_while_it_is_sent_takes_up_room_for_a_while() {
    let limiter = fixed(4);
    let service = shed(&limiter, streaming("application/x", StatusCode::OK));
    let first = service.clone().oneshot(request(Criticality::Critical)).await.unwrap();
    let second = service.oneshot(request(Criticality::Critical)).await.unwrap();
    assert_eq!(limiter.snapshot().in_flight, 2);
    drop(first);
    assert_eq!(limiter.snapshot().in_flight, 1);
    // Nobody polls the other: its room comes back all the same, and once.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(limiter.snapshot().in_flight, 0);
    drop(second);
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test]
async fn events_upgrades_and_bodies_of_known_length_take_up_none() {
    for (content_type, status) in
        [("text/event-stream", StatusCode::OK), ("x/y", StatusCode::SWITCHING_PROTOCOLS)]
    {
        let limiter = fixed(4);
        let service = shed(&limiter, streaming(content_type, status));
        let _response = service.oneshot(request(Criticality::Critical)).await.unwrap();
        assert_eq!(limiter.snapshot().in_flight, 0, "{content_type}");
    }
    let limiter = fixed(4);
    let known = tower::service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Body::from("known")))
    });
    let response = shed(&limiter, known).oneshot(request(Criticality::Critical)).await;
    assert_eq!(limiter.snapshot().in_flight, 0);
    assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "known");
}

#[tokio::test]
async fn the_end_of_a_body_gives_its_room_back_before_it_is_dropped() {
    let limiter = fixed(4);
    let service = shed(&limiter, Probe::new(Until::End));
    let response = service.oneshot(request(Criticality::Critical)).await.unwrap();
    assert_eq!(limiter.snapshot().in_flight, 1);
    let mut body = response.into_body();
    while body.frame().await.is_some() {}
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let bad = Config {
        min: 0,
        initial: 9,
        max: 3,
        tolerance: 0.5,
        window: crate::config::Duration::ZERO,
        shares: Shares { sheddable: 90, sheddable_plus: 50, critical: 0 },
        ..Config::default()
    };
    let mut findings = Findings::default();
    bad.check(&mut findings);
    let text = format!("{findings:?}");
    for key in ["min", "initial", "tolerance", "window", "critical"] {
        assert!(text.contains(key), "{key}: {text}");
    }
    let mut none = Findings::default();
    Config::default().check(&mut none);
    assert_eq!(format!("{none:?}"), format!("{:?}", Findings::default()));
}
