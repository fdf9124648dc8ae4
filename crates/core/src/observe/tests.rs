use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    routing::{any, get},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tower::{Layer as _, Service};

use super::Server;
use crate::{
    context::Ambient,
    metrics::{Metric, Point, Registry},
    middleware::{context::ContextLayer, route::RouteLayer},
    trace::{Keep, Sampler, Sink, SpanData, Status, Tracer, Value},
};

#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl Sink for Ended {
    fn take(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

struct Rig {
    registry: Registry,
    ended: Ended,
    layer: ContextLayer,
}

impl Rig {
    fn new(share: f64) -> Self {
        Self::with(|ended| Tracer::new(Sampler::share(share), ended))
    }

    fn with(tracer: impl FnOnce(Ended) -> Tracer) -> Self {
        let (registry, ended) = (Registry::new(), Ended::default());
        let server = Server::new(&registry, "orders", tracer(ended.clone())).unwrap();
        let layer = ContextLayer::default().with_ambient(Ambient::default().with_server(server));
        Self { registry, ended, layer }
    }

    async fn answer(&self, routes: Router, request: Request<Body>) -> StatusCode {
        let routes = if routes.has_routes() { routes.route_layer(RouteLayer::new()) } else { routes };
        let mut service = self.layer.layer(routes);
        let response = service.call(request).await.unwrap();
        let status = response.status();
        let _ = response.into_body().collect().await;
        status
    }

    fn metric(&self, name: &str) -> Metric {
        self.registry.read().into_iter().find(|metric| metric.name == name).expect("is measured")
    }

    /// The series of a histogram, written as text, with their counts.
    fn series(&self, name: &str) -> Vec<(String, u64)> {
        let metric = self.metric(name);
        let of = |series: &crate::metrics::Series| {
            let Point::Histogram(buckets) = &series.point else { panic!("no histogram: {series:?}") };
            let labels: Vec<_> =
                series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            (labels.join(" "), buckets.count())
        };
        metric.series.iter().map(of).collect()
    }

    fn active(&self) -> f64 {
        let metric = self.metric("http.server.active_requests");
        let of = |series: &crate::metrics::Series| match series.point {
            Point::Number(value) => value,
            _ => panic!("no gauge"),
        };
        metric.series.iter().map(of).sum()
    }

    fn spans(&self) -> Vec<SpanData> {
        self.ended.0.lock().unwrap().clone()
    }
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

fn routes() -> Router {
    Router::new()
        .route("/orders/{id}", get(async || "an order"))
        .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
}

const DURATION: &str = "http.server.request.duration";

#[tokio::test]
async fn a_request_is_counted_by_its_route() {
    let rig = Rig::new(0.0);
    for id in 0..3 {
        rig.answer(routes(), request("GET", &format!("/orders/{id}"))).await;
    }
    rig.answer(routes(), request("GET", "/broken")).await;
    rig.answer(routes(), request("GET", "/nowhere")).await;
    let all = "service.name=orders http.request.method=GET url.scheme=http";
    assert_eq!(
        rig.series(DURATION),
        [
            (format!("{all} http.response.status_code=404 network.protocol.version=1.1"), 1),
            (
                format!(
                    "{all} http.route=/broken http.response.status_code=500 error.type=500 network.protocol.version=1.1"
                ),
                1
            ),
            (
                format!(
                    "{all} http.route=/orders/{{id}} http.response.status_code=200 network.protocol.version=1.1"
                ),
                3
            ),
        ]
    );
    assert!(rig.active().abs() < f64::EPSILON);
    assert!(rig.spans().is_empty());
}

#[tokio::test]
async fn what_a_caller_makes_up_adds_no_series() {
    let rig = Rig::new(0.0);
    let routes = Router::new().route("/any", any(async || "")).route_layer(RouteLayer::new());
    let mut service = rig.layer.layer(routes);
    for index in 0..100_000 {
        let request = match index % 3 {
            0 => request("GET", &format!("/{index}")),
            1 => request(&format!("M{index}"), "/any"),
            _ => Request::builder()
                .method(Method::POST)
                .uri(format!("/made.Up/Method{index}"))
                .header("content-type", "application/grpc")
                .header("host", format!("h{index}"))
                .body(Body::empty())
                .unwrap(),
        };
        let _ = service.call(request).await.unwrap().into_body().collect().await.unwrap();
    }
    assert!(rig.series(DURATION).len() <= 3, "{:?}", rig.series(DURATION));
    assert_eq!(rig.series("rpc.server.call.duration").len(), 1);
}

#[tokio::test]
async fn a_recorded_request_has_a_span_with_its_route_and_is_the_example() {
    let rig = Rig::new(1.0);
    let request = Request::builder()
        .uri("/orders/7?secret=1")
        .header("host", "shop.example:8443")
        .header("user-agent", "test/1")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("tracestate", "a=b")
        .body(Body::empty())
        .unwrap();
    rig.answer(routes(), request).await;
    let [span] = &rig.spans()[..] else { panic!("{:?}", rig.spans()) };
    assert_eq!(span.name, "GET /orders/{id}");
    assert!(span.is_parent_remote);
    assert_eq!(span.parent().unwrap().to_string(), "00f067aa0ba902b7");
    assert_eq!(span.tracestate.as_ref().unwrap(), "a=b");
    for (name, value) in [
        ("http.route", Value::from("/orders/{id}")),
        ("url.path", Value::from("/orders/7")),
        ("http.request.method", Value::from("GET")),
        ("http.response.status_code", Value::from(200_u16)),
        ("server.address", Value::from("shop.example")),
        ("server.port", Value::from(8443_u16)),
        ("user_agent.original", Value::from("test/1")),
    ] {
        assert_eq!(span.get(name), Some(&value), "{name}");
    }
    assert_eq!(span.status, Status::Unset);
    assert!(!format!("{span:?}").contains("secret"));
    let Point::Histogram(buckets) = &rig.metric(DURATION).series[0].point else { panic!("no histogram") };
    let exemplar = buckets.exemplars.iter().flatten().next().unwrap();
    assert_eq!(exemplar.trace_id, span.trace.trace_id());
    assert_eq!(exemplar.span_id, span.trace.span_id());
}

#[tokio::test]
async fn what_fails_or_is_slow_is_kept_though_its_trace_is_not() {
    let keep = Keep::default().errors(true);
    let rig = Rig::with(|ended| Tracer::new(Sampler::share(0.0), ended).keeping(keep));
    rig.answer(routes(), request("GET", "/orders/1")).await;
    rig.answer(routes(), request("GET", "/broken")).await;
    let [span] = &rig.spans()[..] else { panic!("{:?}", rig.spans()) };
    assert_eq!(span.name, "GET /broken");
    assert_eq!(span.get("error.type"), Some(&Value::from("500")));
    assert!(matches!(span.status, Status::Error(_)));
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_with_the_last_byte_of_its_answer() {
    let rig = Rig::new(0.0);
    let slow = async || {
        let frames = futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"late")))
        });
        Response::new(Body::new(StreamBody::new(frames)))
    };
    rig.answer(Router::new().route("/", get(slow)), request("GET", "/")).await;
    let Point::Histogram(buckets) = &rig.metric(DURATION).series[0].point else { panic!("no histogram") };
    assert!((buckets.sum - 2.0).abs() < 0.1, "{}", buckets.sum);
}

#[tokio::test]
async fn what_nobody_waits_for_is_cancelled() {
    let rig = Rig::new(1.0);
    let routes = Router::new().route("/", get(std::future::pending::<()>)).route_layer(RouteLayer::new());
    let mut service = rig.layer.layer(routes);
    let waiting = service.call(request("GET", "/"));
    let elapsed = tokio::time::timeout(Duration::from_millis(20), waiting).await;
    assert!(elapsed.is_err());
    let series = rig.series(DURATION);
    assert!(series[0].0.contains("http.route=/ error.type=cancelled"), "{series:?}");
    assert!(rig.active().abs() < f64::EPSILON);
    // Nor is that a fault of the service.
    assert_eq!(rig.spans()[0].status, Status::Unset);
}

#[tokio::test]
async fn a_failure_whose_body_nobody_reads_is_a_failure() {
    let rig = Rig::new(1.0);
    let fails = async || (StatusCode::SERVICE_UNAVAILABLE, "come back later");
    let routes = Router::new().route("/", get(fails)).route_layer(RouteLayer::new());
    let mut service = rig.layer.layer(routes);
    drop(service.call(request("GET", "/")).await.unwrap());
    let series = rig.series(DURATION);
    assert!(series[0].0.contains("http.response.status_code=503 error.type=503"), "{series:?}");
    assert_eq!(rig.spans()[0].get("error.type"), Some(&Value::from("503")));
}

#[tokio::test]
async fn an_answer_to_head_is_whole_without_its_body() {
    let rig = Rig::new(0.0);
    let routes = Router::new().route("/", get(async || "some bytes")).route_layer(RouteLayer::new());
    let mut service = rig.layer.layer(routes);
    drop(service.call(request("HEAD", "/")).await.unwrap());
    drop(service.call(request("GET", "/")).await.unwrap());
    let series = rig.series(DURATION);
    assert!(!series[1].0.contains("cancelled"), "{series:?}");
    assert!(series[0].0.contains("cancelled"), "{series:?}");
}

#[tokio::test]
async fn grpc_says_how_it_went_in_trailers() {
    let rig = Rig::new(1.0);
    let answer = async || {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "14".parse().unwrap());
        let frames = [Ok::<_, Infallible>(Frame::data(Bytes::new())), Ok(Frame::trailers(trailers))];
        Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))))
    };
    let routes = Router::new().route("/shop.Stock/{*rest}", any(answer));
    let request = Request::builder()
        .method(Method::POST)
        .uri("/shop.Stock/Reserve")
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .unwrap();
    rig.answer(routes, request).await;
    assert_eq!(
        rig.series("rpc.server.call.duration"),
        [(
            "service.name=orders rpc.system.name=grpc rpc.method=shop.Stock/Reserve \
             rpc.response.status_code=UNAVAILABLE error.type=UNAVAILABLE"
                .to_owned(),
            1
        )]
    );
    let [span] = &rig.spans()[..] else { panic!("{:?}", rig.spans()) };
    assert_eq!(span.name, "shop.Stock/Reserve");
    assert_eq!(span.get("rpc.response.status_code"), Some(&Value::from("UNAVAILABLE")));
    assert!(matches!(span.status, Status::Error(_)));
}
