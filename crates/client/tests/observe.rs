//! What is measured and recorded of calls.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::{any, get},
};
use mainstay_client::{Client, Config, discovery::fixed::Fixed};
use mainstay_core::{
    context::{RequestContext, TRACEPARENT, TraceContext},
    metrics::{Point, Registry, Series},
    observe,
    trace::{Kind, Sampler, Sink, Span, SpanData, Status, Tracer, Value},
};
use mainstay_discovery::{Endpoint, ServiceName, memory};
use support::{Server, raw::Raw};

#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl Sink for Ended {
    fn take(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

impl Ended {
    /// A request whose trace is recorded.
    fn request(&self) -> (Span, RequestContext) {
        let tracer = Tracer::new(Sampler::share(1.0), self.clone());
        let trace = TraceContext::root().sampled(true);
        let span = tracer.start(SpanData::new("orders".into(), "request", Kind::Server, trace));
        (span.clone(), RequestContext::new().with_span(span))
    }

    fn spans(&self) -> Vec<SpanData> {
        self.0.lock().unwrap().clone()
    }
}

fn client(registry: &Registry, endpoints: impl IntoIterator<Item = Endpoint>, config: Config) -> Client {
    let observer = observe::Client::new(registry).unwrap();
    let fixed = Fixed::new().with("stock", endpoints).unwrap();
    Client::builder().config(config).observer(observer).build(fixed)
}

/// The series of a histogram as text, with their counts.
fn series(registry: &Registry, name: &str) -> Vec<(String, u64)> {
    let of = |series: &Series| {
        let Point::Histogram(buckets) = &series.point else { panic!("no histogram: {series:?}") };
        let labels: Vec<_> = series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (labels.join(" "), buckets.count())
    };
    let metric = registry.read().into_iter().find(|metric| metric.name == name).expect("is measured");
    metric.series.iter().map(of).collect()
}

const DURATION: &str = "http.client.request.duration";

#[tokio::test]
async fn each_attempt_is_a_span_that_the_callee_is_told_of() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (calls, told) = (Arc::new(AtomicU32::new(0)), seen.clone());
    let answer = get(move |headers: HeaderMap| {
        told.lock().unwrap().push(headers[TRACEPARENT].to_str().unwrap().to_owned());
        let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK } }
    });
    let server = Server::start(Router::new().route("/items/{id}", answer)).await;
    let registry = Registry::new();
    let mut config = Config::default();
    config.retry.statuses = vec![StatusCode::SERVICE_UNAVAILABLE.as_u16()];
    let client = client(&registry, [server.endpoint()], config);
    let ended = Ended::default();
    let (parent, context) = ended.request();
    let response = context.scope(client.get("http://stock/items/7?secret=1").send()).await.unwrap();
    response.text().await.unwrap();

    let spans = ended.spans();
    let [first, second] = &spans[..] else { panic!("{spans:?}") };
    let parent = parent.trace().unwrap();
    for (span, traceparent) in spans.iter().zip(seen.lock().unwrap().iter()) {
        assert_eq!((span.kind, &*span.name), (Kind::Client, "GET"));
        assert_eq!(span.parent(), Some(parent.span_id()));
        let told = TraceContext::parse(traceparent.as_bytes()).unwrap();
        assert_eq!((told.trace_id(), told.parent()), (parent.trace_id(), Some(span.trace.span_id())));
        assert!(told.is_sampled());
        assert_eq!(span.get("url.full"), Some(&Value::from("http://stock/items/7")));
        assert_eq!(span.get("network.peer.address"), Some(&Value::from(server.address.to_string())));
    }
    assert_eq!(first.get("error.type"), Some(&Value::from("503")));
    assert!(matches!(first.status, Status::Error(_)));
    assert_eq!(second.get("http.request.resend_count"), Some(&Value::from(1_u32)));
    assert_eq!(second.status, Status::Unset);
    let all = "http.request.method=GET server.address=stock url.scheme=http";
    assert_eq!(
        series(&registry, DURATION),
        [
            (format!("{all} http.response.status_code=200 network.protocol.version=1.1"), 1),
            (format!("{all} http.response.status_code=503 error.type=503 network.protocol.version=1.1"), 1),
        ]
    );
}

#[tokio::test]
async fn what_is_not_recorded_is_measured() {
    let server = Server::start(Router::new().route("/", any(async || "x"))).await;
    let registry = Registry::new();
    let client = client(&registry, [server.endpoint()], Config::default());
    for _ in 0..3 {
        client.get("http://stock/").send().await.unwrap().text().await.unwrap();
    }
    assert_eq!(series(&registry, DURATION)[0].1, 3);
}

#[tokio::test]
async fn why_there_was_no_answer_is_told() {
    let raw = Raw::listen().await;
    let endpoint = raw.endpoint();
    drop(raw);
    let registry = Registry::new();
    let mut config = Config::default();
    config.retry.max_attempts = 1;
    let client = client(&registry, [endpoint], config);
    let ended = Ended::default();
    let (_parent, context) = ended.request();
    context.scope(client.get("http://stock/").no_retry().send()).await.unwrap_err();
    let series = series(&registry, DURATION);
    assert!(series.iter().all(|(labels, _)| labels.contains("error.type=connect")), "{series:?}");
    assert!(ended.spans().iter().all(|span| span.get("error.type") == Some(&Value::from("connect"))));
    assert!(!ended.spans().is_empty());
}

#[tokio::test]
async fn a_call_in_process_looks_the_same() {
    let registry = Registry::new();
    let stock: ServiceName = "stock".parse().unwrap();
    let here = memory::Registry::new();
    let _lease = here.register(&stock, Endpoint::in_process());
    let client = Client::builder().observer(observe::Client::new(&registry).unwrap()).build(here);
    let told: Arc<Mutex<Option<String>>> = Arc::default();
    let seen = told.clone();
    let answer = any(move |headers: HeaderMap| {
        *seen.lock().unwrap() = Some(headers[TRACEPARENT].to_str().unwrap().to_owned());
        async { "x" }
    });
    client.locals().insert(&stock, Router::new().route("/", answer));
    let ended = Ended::default();
    let (_parent, context) = ended.request();
    context.scope(client.get("http://stock/").send()).await.unwrap().text().await.unwrap();
    let spans = ended.spans();
    let [span] = &spans[..] else { panic!("{spans:?}") };
    let told = TraceContext::parse(told.lock().unwrap().as_deref().unwrap().as_bytes()).unwrap();
    assert_eq!(told.parent(), Some(span.trace.span_id()));
    assert_eq!(series(&registry, DURATION)[0].1, 1);
}
