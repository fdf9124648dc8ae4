#![allow(clippy::disallowed_methods, reason = "a test is its own owner")]

use std::{convert::Infallible, sync::Arc};

use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::*;
use crate::{
    Body,
    middleware::{
        context::ContextLayer,
        probe::{self, Probe, Seen, Until},
    },
};

fn within(timeout: &'static str) -> Request<Body> {
    Request::builder().header("x-request-timeout", timeout).body(Body::empty()).unwrap()
}

fn grpc(timeout: &'static str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert("grpc-timeout", HeaderValue::from_static(timeout));
    request
}

/// `context` and `deadline` over a handler that never answers.
fn stuck(
    layer: DeadlineLayer,
    until: Until,
) -> (impl Service<Request<Body>, Response = Answer, Error = Infallible>, Arc<Seen>) {
    let probe = Probe::new(until);
    let seen = Arc::clone(&probe.seen);
    (ContextLayer::default().layer(layer.layer(probe)), seen)
}

type Answer = Response<crate::middleware::context::ResponseBody<Body>>;

fn count(count: &std::sync::atomic::AtomicUsize) -> usize {
    count.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract_of_a_layer() {
    probe::check(DeadlineLayer::new()).await;
    probe::check(DeadlineLayer::new().with_timeout(Duration::from_secs(1))).await;
}

/// A handler that waits for ever, and says when it was dropped.
struct Stuck(Option<tokio::sync::oneshot::Sender<()>>);

impl Drop for Stuck {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_it_passes_the_handler_is_dropped_and_the_caller_gets_504() {
    let (sender, dropped) = tokio::sync::oneshot::channel();
    let stuck = std::sync::Mutex::new(Some(Stuck(Some(sender))));
    let service = tower::service_fn(move |_: Request<Body>| {
        let held = stuck.lock().unwrap().take();
        async move {
            let _held = held;
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        }
    });
    let service = ContextLayer::default().layer(DeadlineLayer::new().layer(service));
    let started = Instant::now();
    let response = service.oneshot(within("2S")).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    // The timer wheel counts whole milliseconds.
    assert!(started.elapsed() < Duration::from_millis(2010), "{:?}", started.elapsed());
    dropped.await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test(start_paused = true)]
async fn over_grpc_it_is_deadline_exceeded() {
    let (service, seen) = stuck(DeadlineLayer::new(), Until::Handler);
    let response = service.oneshot(grpc("1S")).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
    assert_eq!(count(&seen.dropped_futures), 1);
}

#[tokio::test(start_paused = true)]
async fn work_that_is_too_late_on_arrival_is_not_begun() {
    let (service, seen) = stuck(DeadlineLayer::new(), Until::End);
    let response = service.oneshot(within("0n")).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(count(&seen.calls), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_was_asked_for_bounds_the_body() {
    let (service, seen) = stuck(DeadlineLayer::new(), Until::Body);
    let response = service.oneshot(within("1S")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = Box::pin(response.into_body());
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.into_inner().is::<Elapsed>());
    assert_eq!(count(&seen.dropped_bodies), 1, "what makes the body goes on");
    assert!(body.frame().await.is_none());

    let (service, _) = stuck(DeadlineLayer::new(), Until::Body);
    let mut body = Box::pin(service.oneshot(grpc("1S")).await.unwrap().into_body());
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_gives_up_at_the_deadline_gets_its_answer_through() {
    let answer = |body: fn() -> Body| async move {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            // As a client does whose own timer is a moment late: still within the poll that ends the wait.
            tokio::time::advance(Duration::from_secs(1)).await;
            Ok::<_, Infallible>(Response::new(body()))
        });
        let service = ContextLayer::default().layer(DeadlineLayer::new().layer(service));
        service.oneshot(within("1S")).await.unwrap().into_body().collect().await
    };
    assert_eq!(
        answer(|| Body::from("no answer from below")).await.unwrap().to_bytes(),
        "no answer from below"
    );
    // What has no end in sight is cut all the same, and what is large.
    let endless = || Body::from_stream(futures_util::stream::repeat(Ok::<_, Infallible>("more")));
    assert!(answer(endless).await.unwrap_err().into_inner().is::<Elapsed>());
    assert!(answer(|| Body::from(vec![b'x'; 1 << 20])).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_default_leaves_the_body_open() {
    let (service, _) = stuck(DeadlineLayer::new(), Until::Body);
    let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
    let mut body = Box::pin(response.into_body());
    let waited = tokio::time::timeout(Duration::from_secs(3600), body.frame());
    assert!(waited.await.is_err(), "the body was cut");
}

#[tokio::test(start_paused = true)]
async fn a_route_can_only_shorten_the_deadline_and_says_so_to_what_it_calls() {
    for (asked, own, left) in [("5S", 1, 1), ("1S", 5, 1)] {
        let service = tower::service_fn(|_: Request<Body>| async move {
            let current = RequestContext::current().unwrap().deadline().unwrap();
            let left = current.remaining().as_secs().to_string();
            Ok::<_, Infallible>(Response::new(Body::from(left)))
        });
        let layer = DeadlineLayer::new().with_timeout(Duration::from_secs(own));
        let service = ContextLayer::default().layer(layer.layer(service));
        let body = service.oneshot(within(asked)).await.unwrap().into_body();
        assert_eq!(body.collect().await.unwrap().to_bytes(), left.to_string());
    }
}

#[test]
fn a_handler_that_answers_at_once_registers_no_timer() {
    use futures_util::FutureExt as _;
    let service =
        tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let service = ContextLayer::default().layer(DeadlineLayer::new().layer(service));
    // There is no runtime here: a timer would panic.
    let response = service.oneshot(within("1S")).now_or_never().unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn alone_it_bounds_the_handler_by_its_own_timeout() {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let service = DeadlineLayer::new().with_timeout(Duration::from_secs(1)).layer(service);
    let call = tokio::spawn(service.oneshot(Request::new(Body::empty())));
    let (_, send) = handle.next_request().await.unwrap();
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    // The caller of the mock is gone.
    send.send_response(Response::new(Body::empty()));
}
