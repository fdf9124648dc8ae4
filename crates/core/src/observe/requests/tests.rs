#![allow(clippy::disallowed_methods, reason = "requests under way are tasks of the tests")]

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Path,
    middleware::{Next, from_fn},
    routing::{any, get, post},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::{sync::Notify, task::JoinHandle, time::sleep};
use tower::{Layer as _, ServiceExt as _};

use super::{Report, waits_for};
use crate::{
    context::Ambient,
    metrics::Registry,
    middleware::{body_limit::BodyLimitLayer, context::ContextLayer, route::RouteLayer},
    observe::{Client, Peer, Server},
    trace::Tracer,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[derive(Clone)]
struct Rig {
    server: Server,
    client: Client,
    layer: ContextLayer,
}

impl Rig {
    fn new() -> Self {
        let registry = Registry::new();
        let server = Server::new(&registry, "orders", Tracer::default()).unwrap();
        let client = Client::new(&registry).unwrap();
        let layer = ContextLayer::default().with_ambient(Ambient::default().with_server(server.clone()));
        Self { server, client, layer }
    }

    fn report(&self) -> Report {
        Report::new(std::slice::from_ref(&self.server), Some(&self.client))
    }

    async fn answer(&self, routes: Router, request: Request<Body>) {
        let layers = (self.layer.clone(), BodyLimitLayer::new(1000));
        let response = layers.layer(routes).oneshot(request).await.unwrap();
        let _ = response.into_body().collect().await;
    }

    /// Sends it, and gives the one request that is under way then.
    async fn hang(&self, routes: Router, request: Request<Body>) -> (super::Request, JoinHandle<()>) {
        let rig = self.clone();
        let task = tokio::spawn(async move { rig.answer(routes, request).await });
        // The clock stands still until nobody has anything to do.
        sleep(Duration::from_secs(2)).await;
        let report = self.report();
        let [request] = &*report.in_flight else { panic!("{report:#?}") };
        assert_eq!((report.in_flight_count, request.age.as_secs()), (1, 2));
        (request.clone(), task)
    }

    async fn is_over(&self, task: JoinHandle<()>) {
        task.abort();
        let _ = task.await;
        let report = self.report();
        assert!(report.in_flight_count == 0 && report.in_flight.is_empty(), "{report:#?}");
    }
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).header("traceparent", PARENT).body(Body::empty()).unwrap()
}

fn routed(routes: Router) -> Router {
    routes.route_layer(RouteLayer::new())
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_in_its_handler_is_seen_there_until_it_ends() {
    let rig = Rig::new();
    let routes = routed(Router::new().route("/orders/{id}", get(async |_: Path<u32>| pending::<()>().await)));
    let mut hanging = request("GET", "/orders/7?token=hunter2");
    hanging.headers_mut().insert("x-request-timeout", "10S".parse().unwrap());
    let (seen, task) = rig.hang(routes, hanging).await;
    assert_eq!((&*seen.service, seen.method, seen.route.as_deref()), ("orders", "GET", Some("/orders/{id}")));
    assert_eq!((seen.at, seen.trace_id.to_string()), ("handler", TRACE.to_owned()));
    assert!((seen.deadline_seconds.unwrap() - 8.0).abs() < 0.1, "{seen:?}");
    let report = rig.report();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["in_flight"][0]["trace_id"], TRACE);
    assert!((json["in_flight"][0]["age_seconds"].as_f64().unwrap() - 2.0).abs() < 0.1, "{json}");
    let text = report.to_string();
    assert!(text.contains("in flight: 1\n") && text.contains("orders GET /orders/{id}"), "{text}");
    assert!(![json.to_string(), text].iter().any(|page| page.contains("hunter2") || page.contains("/7")));
    rig.is_over(task).await;
    // Its caller went away.
    let failed = &rig.report().failed[0];
    assert_eq!((failed.error.as_deref(), failed.status), (Some("cancelled"), None));
}

#[tokio::test(start_paused = true)]
async fn where_a_request_waits_is_told() {
    let rig = Rig::new();
    let held = async |_: axum::extract::Request, _: Next| pending::<Response<Body>>().await;
    let outside = routed(Router::new().route("/", get(async || ""))).layer(from_fn(held));
    let (seen, task) = rig.hang(outside, request("GET", "/")).await;
    assert_eq!((seen.at, seen.route), ("stack", None));
    rig.is_over(task).await;

    let endless = async || {
        let first = futures_util::stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from("a"))) });
        let rest = futures_util::stream::pending();
        Response::new(Body::new(StreamBody::new(futures_util::StreamExt::chain(first, rest))))
    };
    let (seen, task) = rig.hang(routed(Router::new().route("/", get(endless))), request("GET", "/")).await;
    assert_eq!(seen.at, "answer");
    rig.is_over(task).await;

    let upload = request("POST", "/").map(|_| {
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        Body::new(StreamBody::new(never))
    });
    let whole = routed(Router::new().route("/", post(async |_: Bytes| "")));
    let (seen, task) = rig.hang(whole, upload).await;
    assert_eq!(seen.at, "request");
    rig.is_over(task).await;

    let locked = async || {
        let _outer = waits_for("a connection");
        drop(waits_for("nothing any more"));
        let _inner = waits_for("a lock");
        pending::<()>().await;
    };
    let (seen, task) = rig.hang(routed(Router::new().route("/", get(locked))), request("GET", "/")).await;
    assert_eq!(seen.at, "a lock");
    rig.is_over(task).await;
    drop(waits_for("nobody"));
}

#[tokio::test(start_paused = true)]
async fn the_body_that_comes_late_is_waited_for_no_more_when_it_is_there() {
    let rig = Rig::new();
    let late = request("POST", "/").map(|_| {
        let frames = futures_util::stream::once(async {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from("late")))
        });
        Body::new(StreamBody::new(frames))
    });
    let routes = Router::new().route("/", post(async |_: Bytes| pending::<()>().await));
    let (seen, task) = rig.hang(routed(routes), late).await;
    assert_eq!(seen.at, "handler");
    rig.is_over(task).await;
}

fn call(peer: &Peer) -> crate::observe::Attempt {
    peer.begin(&mut Request::builder().uri("http://inventory/items/7?q=1").body(()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_another_service_says_which() {
    let rig = Rig::new();
    let (inventory, payments) = (rig.client.peer("inventory"), rig.client.peer("payments"));
    let answered = Arc::new(Notify::new());
    let wait = answered.clone();
    let calls = async move || {
        let endpoint: Arc<str> = "10.0.0.7:8080".into();
        let (mut one, two, again) = (call(&inventory), call(&payments), call(&inventory));
        one.goes_to(Arc::new(endpoint));
        wait.notified().await;
        drop((two, again));
        one.answered(StatusCode::OK, &http::HeaderMap::new(), http::Version::HTTP_11);
        pending::<()>().await;
    };
    let routes = routed(Router::new().route("/", get(calls)));
    let (seen, task) = rig.hang(routes, request("GET", "/")).await;
    assert_eq!((seen.at, &*seen.calls), ("calls", &["inventory".to_owned(), "payments".to_owned()][..]));
    let outside = call(&rig.client.peer("catalog"));
    let report = rig.report();
    assert_eq!((report.calls_count, report.calls.len()), (4, 4));
    let one = report.calls.iter().find(|call| call.endpoint.is_some()).unwrap();
    assert_eq!((&*one.service, one.endpoint.as_deref()), ("inventory", Some("10.0.0.7:8080")));
    assert_eq!((one.waits_for, one.caller.as_deref()), ("answer", Some("orders")));
    assert_eq!((one.age.as_secs(), one.trace_id.unwrap().to_string()), (2, TRACE.to_owned()));
    let other = report.calls.iter().find(|call| call.service == "catalog").unwrap();
    assert_eq!((other.caller.as_deref(), other.trace_id), (None, None));
    drop(outside);

    answered.notify_one();
    sleep(Duration::from_secs(1)).await;
    let report = rig.report();
    let [one] = &*report.calls else { panic!("{report:#?}") };
    assert_eq!((one.waits_for, &*report.in_flight[0].calls), ("body", &["inventory".to_owned()][..]));
    let text = report.to_string();
    assert!(text.contains("calls: 1\n") && text.contains("inventory GET  10.0.0.7:8080  body"), "{text}");
    rig.is_over(task).await;
    assert_eq!(rig.report().calls_count, 0);
}

#[tokio::test(start_paused = true)]
async fn the_slowest_and_the_failed_are_told_by_route() {
    let rig = Rig::new();
    let slow = async |Path(seconds): Path<u64>| sleep(Duration::from_secs(seconds)).await;
    let routes = Router::new()
        .route("/slow/{seconds}", get(slow))
        .route("/events", get(async || sleep(Duration::from_secs(100)).await))
        .route("/broken", get(async || StatusCode::BAD_GATEWAY));
    let routes = routed(routes);
    let send = async |path: &str| rig.answer(routes.clone(), request("GET", path)).await;
    send("/broken").await;
    for seconds in [3, 1] {
        send(&format!("/slow/{seconds}?token=hunter2")).await;
    }
    send("/events").await;
    send("/nowhere").await;
    let report = rig.report();
    let slowest: Vec<_> =
        report.slowest.iter().map(|one| (one.route.as_deref(), one.took.as_secs())).collect();
    let slow = Some("/slow/{seconds}");
    assert_eq!((&slowest[..3], slowest.len()), (&[(Some("/events"), 100), (slow, 3), (slow, 1)][..], 5));
    let [failed] = &*report.failed else { panic!("{report:#?}") };
    assert_eq!((failed.status, failed.error.as_deref(), failed.ago.as_secs()), (Some(502), Some("502"), 104));
    assert_eq!((failed.trace_id.to_string(), failed.is_recorded), (TRACE.to_owned(), false));
    let text = report.to_string();
    assert!(text.contains("last failed:") && text.contains("orders GET /broken  502"), "{text}");

    // One route that fails all the time does not push the others' failures out.
    for _ in 0..100 {
        send("/broken").await;
    }
    let pending = tokio::time::timeout(Duration::from_secs(1), send("/events")).await;
    assert!(pending.is_err());
    let report = rig.report();
    let failed: Vec<_> = report.failed.iter().map(|one| one.error.as_deref().unwrap()).collect();
    assert_eq!((failed[0], failed.len()), ("cancelled", 11));
}

#[tokio::test(start_paused = true)]
async fn what_was_slow_is_forgotten_after_two_windows() {
    let rig = Rig::new();
    let slow = async |Path(seconds): Path<u64>| sleep(Duration::from_secs(seconds)).await;
    let routes = routed(Router::new().route("/{seconds}", get(slow)));
    let send = async |path: &str| rig.answer(routes.clone(), request("GET", path)).await;
    let slowest = || rig.report().slowest.iter().map(|one| one.took.as_secs()).collect::<Vec<_>>();
    for _ in 0..6 {
        send("/9").await;
    }
    // Not among the slowest of this window, but of the next.
    send("/2").await;
    assert_eq!(slowest(), [9; 5]);
    sleep(Duration::from_secs(300)).await;
    send("/1").await;
    assert_eq!(slowest(), [9, 9, 9, 9, 9, 1]);
    sleep(Duration::from_secs(300)).await;
    assert_eq!(slowest(), [1]);
    sleep(Duration::from_secs(300)).await;
    assert!(slowest().is_empty());
}

#[tokio::test(start_paused = true)]
async fn grpc_is_told_by_its_methods() {
    let rig = Rig::new();
    let grpc = |path: &str| {
        let mut request = request("POST", path);
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request
    };
    let routes = routed(Router::new().route("/shop.Stock/{*rest}", any(pending::<()>)));
    let (seen, task) = rig.hang(routes.clone(), grpc("/shop.Stock/Reserve")).await;
    assert_eq!(seen.rpc_method.as_deref(), Some("shop.Stock/Reserve"));
    rig.is_over(task).await;
    let (seen, task) = rig.hang(routes, grpc(&format!("/shop.Stock/{}", "x".repeat(5000)))).await;
    assert_eq!(seen.rpc_method.map(|method| method.len()), Some(256));
    rig.is_over(task).await;
    let failed = &rig.report().failed;
    assert!(failed.iter().any(|one| one.rpc_method.as_deref() == Some("shop.Stock/Reserve")), "{failed:#?}");
}

#[tokio::test(start_paused = true)]
async fn of_many_the_oldest_are_told_and_all_are_counted() {
    let rig = Rig::new();
    let routes = routed(Router::new().route("/", get(pending::<()>)));
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..300 {
        let (rig, routes) = (rig.clone(), routes.clone());
        tasks.spawn(async move { rig.answer(routes, request("GET", "/")).await });
        if index == 0 {
            sleep(Duration::from_secs(5)).await;
        }
    }
    sleep(Duration::from_secs(1)).await;
    let report = rig.report();
    assert_eq!((report.in_flight_count, report.in_flight.len()), (300, 200));
    assert_eq!(report.in_flight[0].age.as_secs(), 6);
    assert!(report.to_string().starts_with("in flight: 300, the oldest 200\n"));
    tasks.shutdown().await;
    assert_eq!(rig.report().in_flight_count, 0);
}
