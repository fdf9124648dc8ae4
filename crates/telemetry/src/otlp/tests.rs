#![allow(clippy::disallowed_methods, reason = "the receiver of a test belongs to the test")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use mainstay_core::{
    config::{Loader, Section},
    context::TraceContext,
    metrics::{Point, Registry},
    task::Tasks,
    trace::{Kind, Sampler, Sink as _, SpanData, Status, Tracer},
};
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    time::Instant,
};

use super::*;
use crate::{resource::Resource, sampling};

/// The messages as another implementation of protobuf reads them.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(super) resources: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scopes: Vec<ScopeSpans>,
        #[prost(string, tag = "3")]
        pub(super) schema_url: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Logs {
        #[prost(message, repeated, tag = "1")]
        pub(super) resources: Vec<ResourceLogs>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceLogs {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scopes: Vec<ScopeLogs>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeLogs {
        #[prost(message, optional, tag = "1")]
        pub(super) scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub(super) records: Vec<LogRecord>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct LogRecord {
        #[prost(fixed64, tag = "1")]
        pub(super) at: u64,
        #[prost(int32, tag = "2")]
        pub(super) severity: i32,
        #[prost(string, tag = "3")]
        pub(super) severity_text: String,
        #[prost(message, optional, tag = "5")]
        pub(super) body: Option<AnyValue>,
        #[prost(message, repeated, tag = "6")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(fixed32, tag = "8")]
        pub(super) flags: u32,
        #[prost(bytes, tag = "9")]
        pub(super) trace_id: Vec<u8>,
        #[prost(bytes, tag = "10")]
        pub(super) span_id: Vec<u8>,
        #[prost(fixed64, tag = "11")]
        pub(super) observed: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub(super) spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Scope {
        #[prost(string, tag = "1")]
        pub(super) name: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(bytes, tag = "1")]
        pub(super) trace_id: Vec<u8>,
        #[prost(bytes, tag = "2")]
        pub(super) span_id: Vec<u8>,
        #[prost(string, tag = "3")]
        pub(super) trace_state: String,
        #[prost(bytes, tag = "4")]
        pub(super) parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) name: String,
        #[prost(int32, tag = "6")]
        pub(super) kind: i32,
        #[prost(fixed64, tag = "7")]
        pub(super) start: u64,
        #[prost(fixed64, tag = "8")]
        pub(super) end: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "10")]
        pub(super) dropped_attributes: u32,
        #[prost(message, repeated, tag = "11")]
        pub(super) events: Vec<Event>,
        #[prost(uint32, tag = "12")]
        pub(super) dropped_events: u32,
        #[prost(message, optional, tag = "15")]
        pub(super) status: Option<Status>,
        #[prost(fixed32, tag = "16")]
        pub(super) flags: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Event {
        #[prost(fixed64, tag = "1")]
        pub(super) at: u64,
        #[prost(string, tag = "2")]
        pub(super) name: String,
        #[prost(message, repeated, tag = "3")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Status {
        #[prost(string, tag = "2")]
        pub(super) message: String,
        #[prost(int32, tag = "3")]
        pub(super) code: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AnyValue {
        #[prost(oneof = "Value", tags = "1, 2, 3, 4")]
        pub(super) value: Option<Value>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Bool(bool),
        #[prost(int64, tag = "3")]
        Int(i64),
        #[prost(double, tag = "4")]
        Float(f64),
    }
}

fn span(service: &str) -> SpanData {
    SpanData::new(service.into(), "work", Kind::Internal, TraceContext::root().sampled(true))
}

/// What a receiver does with each request.
#[derive(Clone, Copy)]
enum Behaviour {
    /// Answers with this status.
    Answers(u16),
    /// Reads, and says nothing.
    Hangs,
    /// Says what is no HTTP.
    Babbles,
}

/// A receiver over HTTP/1.1; ended by drop.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<wire::Request>>>,
    logs: Arc<Mutex<Vec<wire::Logs>>>,
    heads: Arc<Mutex<Vec<String>>>,
    behaviour: Arc<Mutex<Behaviour>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (got, logs, heads) = (Arc::default(), Arc::default(), Arc::default());
        let behaviour = Arc::new(Mutex::new(behaviour));
        let task = {
            let (got, logs) = (Arc::clone(&got), Arc::clone(&logs));
            let (heads, behaviour) = (Arc::clone(&heads), Arc::clone(&behaviour));
            tokio::spawn(async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (got, logs) = (Arc::clone(&got), Arc::clone(&logs));
                    let (heads, behaviour) = (Arc::clone(&heads), Arc::clone(&behaviour));
                    connections.spawn(async move {
                        let _ = Self::serve(stream, &got, &logs, &heads, &behaviour).await;
                    });
                }
            })
        };
        Self { address, got, logs, heads, behaviour, task }
    }

    async fn serve(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        got: &Mutex<Vec<wire::Request>>,
        logs: &Mutex<Vec<wire::Logs>>,
        heads: &Mutex<Vec<String>>,
        behaviour: &Mutex<Behaviour>,
    ) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
                head += &line;
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            heads.lock().unwrap().push(head.clone());
            let behaviour = *behaviour.lock().unwrap();
            match behaviour {
                Behaviour::Answers(status) => {
                    if head.contains("content-encoding: gzip") {
                        let mut plain = Vec::new();
                        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*body), &mut plain)?;
                        body = plain;
                    }
                    if status == 200 && head.starts_with("POST /v1/logs ") {
                        logs.lock().unwrap().push(wire::Logs::decode(&*body).unwrap());
                    } else if status == 200 {
                        got.lock().unwrap().push(wire::Request::decode(&*body).unwrap());
                    }
                    let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await?;
                }
                Behaviour::Hangs => std::future::pending().await,
                Behaviour::Babbles => {
                    stream.write_all(b"\x16\x03\x01 I am no receiver\r\n\r\n").await?;
                    return Ok(());
                }
            }
        }
    }

    fn spans(&self) -> usize {
        let got = self.got.lock().unwrap();
        got.iter()
            .flat_map(|request| &request.resources)
            .flat_map(|of| &of.scopes)
            .map(|of| of.spans.len())
            .sum()
    }

    fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

struct Rig {
    spans: Spans,
    registry: Registry,
    tasks: Tasks,
}

fn config(address: SocketAddr) -> Config {
    let mut config = Config::default().with_endpoint(format!("http://{address}"));
    config.interval = mainstay_core::config::Duration::from_secs(1);
    config
}

impl Rig {
    fn start(config: &Config) -> Self {
        let (registry, tasks) = (Registry::new(), Tasks::new());
        let (spans, exporter) =
            exporter(config, Resource::default().with("host.name", "h"), &registry, &tasks).unwrap().unwrap();
        tasks.spawn_detached(exporter.run(tasks.stopping(), Duration::from_secs(2)));
        Self { spans, registry, tasks }
    }

    fn counted(&self, name: &str, reason: &str) -> u64 {
        let metric = self.registry.read().into_iter().find(|metric| metric.name == name).unwrap();
        let series =
            metric.series.iter().find(|series| series.labels.get("reason").unwrap_or_default() == reason);
        match series.unwrap().point {
            Point::Counter(value) => value,
            _ => panic!("no counter"),
        }
    }

    fn exported(&self) -> u64 {
        self.counted("mainstay.telemetry.spans.exported", "")
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.counted("mainstay.telemetry.spans.dropped", reason)
    }
}

/// Real time: a paused clock runs ahead of sockets.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn another_implementation_reads_what_is_sent() {
    let parent = TraceContext::root().sampled(true);
    let mut data = SpanData::new("orders".into(), "POST /orders", Kind::Server, parent.child());
    data.is_parent_remote = true;
    data.tracestate = Some(http::HeaderValue::from_bytes(b"a=b\xff").unwrap());
    data.start = SystemTime::UNIX_EPOCH + Duration::from_nanos(5);
    data.end = SystemTime::UNIX_EPOCH + Duration::from_nanos(9);
    data.status = Status::Error("no stock".into());
    (data.dropped_attributes, data.dropped_events) = (2, 3);
    let attributes = [("text", "x".repeat(300).into()), ("empty", "".into()), ("int", (-5_i64).into())];
    data.attributes.extend(attributes.map(|(name, value)| (name.into(), value)));
    data.attributes.push(("float".into(), 0.0.into()));
    data.attributes.push(("no".into(), false.into()));

    let mut batch = batch::Batch::default();
    batch.put(&data);
    batch.put(&span("stock"));
    batch.put(&data);
    assert_eq!(batch.len(), 3);
    let mut resources = batch::Resources::new(Resource::default().with("host.name", "h"));
    let request = wire::Request::decode(&*batch.encode(&mut resources)).unwrap();

    let resource = |of: &wire::ResourceSpans| -> Vec<(String, Option<wire::Value>)> {
        let attributes = of.resource.clone().unwrap().attributes;
        attributes.into_iter().map(|pair| (pair.key, pair.value.unwrap().value)).collect()
    };
    let text = |text: &str| Some(wire::Value::Text(text.to_owned()));
    let expected = |name| [("host.name".to_owned(), text("h")), ("service.name".to_owned(), text(name))];
    assert_eq!(request.resources.len(), 2);
    assert_eq!(resource(&request.resources[0]), expected("orders"));
    assert_eq!(resource(&request.resources[1]), expected("stock"));
    assert_eq!(request.resources[0].scopes[0].scope.clone().unwrap().name, "mainstay");
    assert!(request.resources[0].schema_url.starts_with("https://opentelemetry.io/schemas/"));
    let spans = &request.resources[0].scopes[0].spans;
    assert_eq!(spans.len(), 2);
    let read = &spans[0];
    assert_eq!(read.trace_id, parent.trace_id().to_bytes());
    assert_eq!(read.span_id, data.trace.span_id().to_bytes());
    assert_eq!(read.parent_span_id, parent.span_id().to_bytes());
    assert_eq!((&*read.name, read.kind, read.start, read.end), ("POST /orders", 2, 5, 9));
    assert_eq!(read.trace_state, "a=b\u{fffd}");
    assert_eq!((read.dropped_attributes, read.dropped_events), (2, 3));
    let values: Vec<_> =
        read.attributes.iter().map(|pair| pair.value.clone().unwrap().value.unwrap()).collect();
    let expected = [
        wire::Value::Text("x".repeat(300)),
        wire::Value::Text(String::new()),
        wire::Value::Int(-5),
        wire::Value::Float(0.0),
        wire::Value::Bool(false),
    ];
    assert_eq!(values, expected);
    assert_eq!(read.status, Some(wire::Status { message: "no stock".to_owned(), code: 2 }));
    // Sampled and random, and the parent is known to be elsewhere.
    assert_eq!(read.flags, 0x303);
    let root = &request.resources[1].scopes[0].spans[0];
    assert!(root.parent_span_id.is_empty() && root.status.is_none());
}

#[tokio::test]
async fn spans_arrive_with_their_events_and_what_is_left_at_the_end() {
    let receiver = Receiver::start(Behaviour::Answers(200)).await;
    let mut config = config(receiver.address);
    config.compression = Compression::Gzip;
    config.headers.insert("x-key".to_owned(), "s3cret".into());
    let rig = Rig::start(&config);
    let tracer = Tracer::new(Sampler::share(1.0), rig.spans.clone());
    let root = tracer.start(span("orders"));
    let child = root.child("charge");
    child.event("tried", [("attempt", 1)]);
    child.end();
    root.end();
    // Long before the interval is over.
    rig.tasks.stop(Duration::from_secs(30)).await.unwrap();
    assert_eq!((receiver.spans(), rig.exported()), (2, 2));
    let request = receiver.got.lock().unwrap()[0].clone();
    let spans = &request.resources[0].scopes[0].spans;
    assert_eq!((&*spans[0].name, &*spans[1].name), ("charge", "work"));
    assert_eq!(spans[0].parent_span_id, spans[1].span_id);
    assert_eq!((&*spans[0].events[0].name, &*spans[0].events[0].attributes[0].key), ("tried", "attempt"));
    assert!(spans[0].events[0].at >= spans[0].start);
    let head = receiver.heads.lock().unwrap()[0].clone();
    for line in [
        "POST /v1/traces HTTP/1.1",
        "content-type: application/x-protobuf",
        "x-key: s3cret",
        "host: 127.0.0.1",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    rig.spans.take(span("orders"));
    assert_eq!(rig.dropped("stopped"), 1);
}

#[tokio::test]
async fn what_is_more_than_the_queue_holds_is_counted_and_nobody_waits() {
    let receiver = Receiver::start(Behaviour::Hangs).await;
    let mut config = config(receiver.address);
    (config.queue, config.batch) = (100, 10);
    let rig = Rig::start(&config);
    for _ in 0..10_000 {
        rig.spans.take(span("orders"));
    }
    // All but those that the exporter has taken out meanwhile: a batch that it holds.
    assert!(rig.spans.len() <= 100);
    until("it holds one batch", || receiver.requests() > 0).await;
    assert!((9_890..=9_900).contains(&rig.dropped("queue_full")), "{}", rig.dropped("queue_full"));
    let began = Instant::now();
    rig.tasks.stop(Duration::from_secs(30)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2), "it had 2 s for what was left");
    assert_eq!(rig.dropped("queue_full") + rig.dropped("stopped"), 10_000);
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes_too() {
    let receiver = Receiver::start(Behaviour::Hangs).await;
    let mut config = config(receiver.address);
    config.queue_bytes = mainstay_core::config::ByteSize::from_mib(1);
    let rig = Rig::start(&config);
    for _ in 0..300 {
        let mut large = span("orders");
        large.attributes.push(("text".into(), "x".repeat(4096).into()));
        rig.spans.take(large);
    }
    assert!(rig.spans.len() < 256, "{}", rig.spans.len());
    assert_eq!(rig.spans.len() + usize::try_from(rig.dropped("queue_full")).unwrap(), 300);
}

#[tokio::test]
async fn what_may_pass_is_sent_again_and_the_rest_is_not() {
    let receiver = Receiver::start(Behaviour::Answers(503)).await;
    let rig = Rig::start(&config(receiver.address));
    rig.spans.take(span("orders"));
    until("it is sent again", || receiver.requests() >= 2).await;
    *receiver.behaviour.lock().unwrap() = Behaviour::Answers(200);
    until("it arrives", || rig.exported() == 1).await;
    *receiver.behaviour.lock().unwrap() = Behaviour::Answers(400);
    rig.spans.take(span("orders"));
    until("it is refused", || rig.dropped("refused") == 1).await;
    let requests = receiver.requests();
    // A further one shows that nothing is left of it.
    *receiver.behaviour.lock().unwrap() = Behaviour::Answers(200);
    rig.spans.take(span("orders"));
    until("the next one arrives", || rig.exported() == 2).await;
    assert_eq!((receiver.requests(), receiver.spans()), (requests + 1, 2));
}

#[tokio::test]
async fn a_receiver_that_hangs_or_babbles_is_left_in_time() {
    for behaviour in [Behaviour::Hangs, Behaviour::Babbles] {
        let receiver = Receiver::start(behaviour).await;
        let mut config = config(receiver.address);
        config.timeout = mainstay_core::config::Duration::from_millis(300);
        config.export_timeout = mainstay_core::config::Duration::from_millis(1500);
        let rig = Rig::start(&config);
        rig.spans.take(span("orders"));
        until("it is given up", || rig.dropped("undelivered") == 1).await;
        assert!(receiver.requests() >= 2, "it was tried again");
        *receiver.behaviour.lock().unwrap() = Behaviour::Answers(200);
        rig.spans.take(span("orders"));
        until("it works again", || rig.exported() == 1).await;
    }
}

#[tokio::test]
async fn nobody_is_asked_where_nothing_is_configured() {
    let (registry, tasks) = (Registry::new(), Tasks::new());
    let of = |config: &Config| exporter(config, Resource::default(), &registry, &tasks).unwrap().is_some();
    assert!(!of(&Config::default()));
    let mut disabled = Config::default().with_endpoint("http://127.0.0.1:4318");
    assert!(of(&disabled));
    disabled.enabled = false;
    assert!(!of(&disabled));
}

#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    otlp: Config,
    trace: sampling::Config,
    resource: std::collections::BTreeMap<String, String>,
}

impl Section for Settings {
    fn check(&self, findings: &mut mainstay_core::config::Findings) {
        findings.within("otlp", |findings| self.otlp.check(findings));
        findings.within("trace", |findings| self.trace.check(findings));
    }
}

fn loader(environment: &[(&str, &str)]) -> Loader {
    let loader = Loader::new().directory("/nonexistent").tree::<Settings>("");
    loader.translate(variables).translate(crate::resource::variables).environment(environment.iter().copied())
}

#[test]
fn the_standard_variables_are_read() {
    let loaded = loader(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=a%2Cb,x=y"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,deployment.environment.name=a%20b"),
    ]);
    let loaded = loaded.load().unwrap_or_else(|errors| panic!("{errors}"));
    let settings = loaded.get::<Settings>("");
    let otlp = &settings.otlp;
    assert_eq!(
        otlp.target(config::Signal::Spans).unwrap().to_string(),
        "http://collector:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    assert_eq!((otlp.protocol, otlp.compression), (Protocol::Grpc, Compression::Gzip));
    assert_eq!(otlp.headers["api-key"].expose(), "a,b");
    assert_eq!((otlp.timeout.as_millis(), otlp.interval.as_millis()), (1500, 100));
    assert_eq!((otlp.queue, otlp.batch), (10, 5));
    assert!((settings.trace.share - 0.25).abs() < f64::EPSILON && settings.trace.parent_based);
    let resource: Vec<_> = settings.resource.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(resource, [("deployment.environment.name", "a b"), ("service.name", "shop")]);
    assert!(!loaded.view().to_toml().contains("a,b"), "{}", loaded.view().to_toml());
    assert_eq!(
        loaded.origin("otlp.timeout").to_string(),
        "environment variable OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"
    );
    let own = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"), ("MAINSTAY_OTLP__ENDPOINT", "http://b")];
    let settings = loader(&own).load().unwrap().get::<Settings>("");
    assert_eq!(settings.otlp.target(config::Signal::Spans).unwrap().to_string(), "http://b/v1/traces");
    let settings = loader(&[own[0], ("OTEL_METRICS_EXPORTER", "otlp")]).load().unwrap().get::<Settings>("");
    assert_eq!(settings.otlp.target(config::Signal::Metrics).unwrap().to_string(), "http://a/v1/metrics");
    for (exporters, are_sent) in [("otlp, prometheus", true), ("prometheus", false), ("none", false)] {
        let variables = [own[0], ("OTEL_METRICS_EXPORTER", exporters)];
        let settings = loader(&variables).load().unwrap().get::<Settings>("");
        assert_eq!(settings.otlp.target(config::Signal::Metrics).is_some(), are_sent, "{exporters}");
    }
    for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
        let settings =
            loader(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"), off]).load().unwrap().get::<Settings>("");
        assert!(settings.otlp.target(config::Signal::Spans).is_none(), "{off:?}");
    }
}

#[test]
fn a_wrong_variable_is_told_with_what_was_expected() {
    for (name, value, key, expected) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "otlp.endpoint", "a URL with host"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "otlp.protocol", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "otlp.timeout", "a whole number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret", "otlp.headers", "NAME=VALUE"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "host=s3cret", "otlp.headers.host", "another header field"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "trace.share", "always_on"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp.traces", "`otlp` or `none`"),
        ("OTEL_METRICS_EXPORTER", "otlp,console", "otlp.metrics", "`otlp`, `prometheus` or `none`"),
        ("OTEL_SDK_DISABLED", "yes", "otlp.enabled", "`true` or `false`"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100", "otlp.queue", "no less than `otlp.batch`"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "otlp.interval", "more than 0s"),
        ("OTEL_RESOURCE_ATTRIBUTES", "prod", "resource", "NAME=VALUE"),
    ] {
        let errors = loader(&[(name, value)]).load().unwrap_err().to_string();
        for part in [&format!("environment variable {name}"), key, expected] {
            assert!(errors.contains(part), "{part}: {errors}");
        }
        assert!(!errors.contains("s3cret"), "{errors}");
    }
    let sampler = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "50%")];
    let errors = loader(&sampler).load().unwrap_err().to_string();
    assert!(
        errors.contains("OTEL_TRACES_SAMPLER_ARG") && errors.contains("a number from 0.0 to 1.0"),
        "{errors}"
    );
    let grpc = [("MAINSTAY_OTLP__ENDPOINT", "http://a:4318/v1/traces"), ("MAINSTAY_OTLP__PROTOCOL", "grpc")];
    let errors = loader(&grpc).load().unwrap_err().to_string();
    assert!(errors.contains("a URL without a path"), "{errors}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_receiver_behind_tls_has_to_be_the_one_that_is_trusted() {
    use rustls::{ServerConfig, pki_types::PrivateKeyDer};

    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(mainstay_core::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (got, heads) = (Arc::<Mutex<Vec<_>>>::default(), Mutex::default());
    let server = {
        let got = Arc::clone(&got);
        tokio::spawn(async move {
            let behaviour = Mutex::new(Behaviour::Answers(200));
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = Receiver::serve(stream, &got, &Mutex::default(), &heads, &behaviour).await;
                }
            }
        })
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), own.cert.pem()).unwrap();
    let mut config = Config::default().with_endpoint(format!("https://localhost:{port}"));
    config.interval = mainstay_core::config::Duration::from_millis(50);
    config.export_timeout = mainstay_core::config::Duration::from_secs(1);
    // What the platform trusts has not signed it.
    let rig = Rig::start(&config);
    rig.spans.take(span("orders"));
    until("it is not trusted", || rig.dropped("undelivered") == 1).await;
    assert!(got.lock().unwrap().is_empty());

    config.tls.ca_file = Some(file.path().to_owned());
    let rig = Rig::start(&config);
    rig.spans.take(span("orders"));
    until("it arrives", || rig.exported() == 1).await;
    assert_eq!(got.lock().unwrap().len(), 1);
    server.abort();
}

/// Metrics as another implementation of protobuf reads them.
mod measured_wire {
    use super::wire::KeyValue;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(super) resources: Vec<ResourceMetrics>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceMetrics {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<super::wire::Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scopes: Vec<ScopeMetrics>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeMetrics {
        #[prost(message, repeated, tag = "2")]
        pub(super) metrics: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metric {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "3")]
        pub(super) unit: String,
        #[prost(message, optional, tag = "5")]
        pub(super) gauge: Option<Points>,
        #[prost(message, optional, tag = "7")]
        pub(super) sum: Option<Points>,
        #[prost(message, optional, tag = "9")]
        pub(super) histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Points {
        #[prost(message, repeated, tag = "1")]
        pub(super) points: Vec<Point>,
        #[prost(int32, tag = "2")]
        pub(super) temporality: i32,
        #[prost(bool, tag = "3")]
        pub(super) is_monotonic: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Point {
        #[prost(fixed64, tag = "2")]
        pub(super) start: u64,
        #[prost(fixed64, tag = "3")]
        pub(super) time: u64,
        #[prost(double, optional, tag = "4")]
        pub(super) as_double: Option<f64>,
        #[prost(sfixed64, optional, tag = "6")]
        pub(super) as_int: Option<i64>,
        #[prost(message, repeated, tag = "7")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(message, repeated, tag = "1")]
        pub(super) points: Vec<HistogramPoint>,
        #[prost(int32, tag = "2")]
        pub(super) temporality: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct HistogramPoint {
        #[prost(fixed64, tag = "2")]
        pub(super) start: u64,
        #[prost(fixed64, tag = "4")]
        pub(super) count: u64,
        #[prost(double, optional, tag = "5")]
        pub(super) sum: Option<f64>,
        #[prost(fixed64, repeated, tag = "6")]
        pub(super) buckets: Vec<u64>,
        #[prost(double, repeated, tag = "7")]
        pub(super) bounds: Vec<f64>,
        #[prost(message, repeated, tag = "8")]
        pub(super) exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar {
        #[prost(double, optional, tag = "3")]
        pub(super) value: Option<f64>,
        #[prost(bytes, tag = "4")]
        pub(super) span_id: Vec<u8>,
        #[prost(bytes, tag = "5")]
        pub(super) trace_id: Vec<u8>,
    }
}

#[test]
fn another_implementation_reads_the_metrics_that_are_sent() {
    use mainstay_core::metrics::Definition;

    let registry = Registry::new();
    let define = |name: &'static str, unit: &'static str| Definition::new(name, unit, "what it is");
    let placed = registry.counter(define("orders.placed", "{order}"), ["service.name", "payment"]).unwrap();
    placed.with(["orders", "card"]).add(7);
    placed.with(["outlet", "card"]).add(1);
    registry.gauge(define("stock.level", "1"), []).unwrap().only().set(-0.5);
    registry.up_down_counter(define("open", "{request}"), []).unwrap().only().add(-2);
    let took = define("took", "s").with_bounds(vec![1.0, 2.0]);
    let took = registry.histogram(took, ["service.name"]).unwrap().with(["orders"]);
    let trace = TraceContext::root();
    took.record(1.5);
    took.record_in(3.0, trace.trace_id(), trace.span_id());

    let span = measured::Span { since: registry.since(), until: registry.now() };
    let mut resources = batch::Resources::new(Resource::default().with("host.name", "h"));
    let requests = measured::encode(&registry.read(), span, &"all".into(), &mut resources);
    let [bytes] = &*requests else { panic!("{} requests", requests.len()) };
    let request = measured_wire::Request::decode(&**bytes).unwrap();
    let of = |service: &str| -> Vec<measured_wire::Metric> {
        let text = wire::Value::Text(service.to_owned());
        let is = |of: &&measured_wire::ResourceMetrics| {
            let attributes = &of.resource.as_ref().unwrap().attributes;
            attributes.iter().any(|pair| pair.value.as_ref().unwrap().value.as_ref() == Some(&text))
        };
        request.resources.iter().find(is).unwrap().scopes[0].metrics.clone()
    };
    assert_eq!(request.resources.len(), 3);
    let [placed, took] = &*of("orders") else { panic!("{:#?}", of("orders")) };
    let sum = placed.sum.as_ref().unwrap();
    assert_eq!((&*placed.name, &*placed.unit), ("orders.placed", "{order}"));
    assert_eq!((sum.temporality, sum.is_monotonic, sum.points.len()), (2, true, 1));
    assert_eq!((sum.points[0].as_int, sum.points[0].attributes.len()), (Some(7), 1));
    assert!(sum.points[0].start > 0 && sum.points[0].start <= sum.points[0].time);
    let histogram = took.histogram.as_ref().unwrap();
    let point = &histogram.points[0];
    assert_eq!((histogram.temporality, point.count, point.sum), (2, 2, Some(4.5)));
    assert_eq!((&*point.buckets, &*point.bounds), (&[0, 1, 1][..], &[1.0, 2.0][..]));
    assert!(point.start > 0 && point.attributes.is_empty());
    assert_eq!(point.exemplars[0].value, Some(3.0));
    assert_eq!(point.exemplars[0].trace_id, trace.trace_id().to_bytes());
    assert_eq!(point.exemplars[0].span_id, trace.span_id().to_bytes());
    let [open, level] = &*of("all") else { panic!("{:#?}", of("all")) };
    let open = open.sum.as_ref().unwrap();
    assert_eq!((open.is_monotonic, open.points[0].as_double), (false, Some(-2.0)));
    let level = level.gauge.as_ref().unwrap();
    assert_eq!((level.points[0].as_double, level.points[0].start), (Some(-0.5), 0));
    assert_eq!(of("outlet")[0].sum.as_ref().unwrap().points[0].as_int, Some(1));
}

#[test]
fn metrics_that_are_too_much_for_one_request_are_sent_in_several() {
    use mainstay_core::metrics::Definition;

    let registry = Registry::new();
    let names: Vec<String> = (0..40).map(|number| format!("metric.{number}")).collect();
    for name in &names {
        let definition = Definition::new(name.clone(), "1", "what it is");
        let family = registry.histogram(definition, ["service.name", "who"]).unwrap();
        for who in 0..500 {
            family.with(["orders", &*format!("{who:050}")]).record(1.0);
        }
    }
    let span = measured::Span { since: registry.since(), until: registry.now() };
    let mut resources = batch::Resources::new(Resource::default());
    let requests = measured::encode(&registry.read(), span, &"all".into(), &mut resources);
    assert!(requests.len() > 1);
    let mut read = Vec::new();
    for request in &requests {
        assert!(request.len() < 4 << 20, "{}", request.len());
        for of_service in measured_wire::Request::decode(&**request).unwrap().resources {
            assert!(!of_service.resource.unwrap().attributes.is_empty());
            read.extend(of_service.scopes.into_iter().flat_map(|scope| scope.metrics));
        }
    }
    let mut read: Vec<_> = read.iter().map(|metric| (&*metric.name, points_of(metric))).collect();
    read.sort_unstable();
    let mut all: Vec<_> = names.iter().map(|name| (&**name, 500)).collect();
    all.sort_unstable();
    assert_eq!(read, all);
}

fn points_of(metric: &measured_wire::Metric) -> usize {
    metric.histogram.as_ref().map_or(0, |histogram| histogram.points.len())
}

/// Log records of a test, and what sends them.
mod logs {
    use super::*;
    use crate::{logs, redact::Redact, test::Capture};

    struct Rig {
        capture: Capture,
        registry: Registry,
        records: Records,
        tasks: Tasks,
    }

    impl Rig {
        fn start(config: &Config, redact: Redact) -> Self {
            let (registry, tasks) = (Registry::new(), Tasks::new());
            let mut config = config.clone();
            config.logs = true;
            let capture = Capture::with(&logs::Config::default().with_redact(redact));
            let made = log_exporter(&config, Resource::default().with("host.name", "h"), &registry, &tasks);
            let (records, exporter) = made.unwrap().unwrap();
            assert!(capture.logs().send_to(records.clone(), "shop"));
            tasks.spawn_detached(exporter.run(tasks.stopping(), Duration::from_secs(2)));
            Self { capture, registry, records, tasks }
        }

        fn counted(&self, name: &str) -> u64 {
            let metrics = self.registry.read();
            let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
            let count = |point: &Point| if let Point::Counter(value) = point { *value } else { 0 };
            metric.series.iter().map(|series| count(&series.point)).sum()
        }
    }

    #[tokio::test]
    async fn lines_arrive_as_records_with_ids_and_without_secrets() {
        let receiver = Receiver::start(Behaviour::Answers(200)).await;
        let rig = Rig::start(&config(receiver.address), Redact::new(["iban"]));
        let request = rig.capture.request("POST /orders");
        let trace = *request.trace();
        request.sync_scope(|| {
            let error = std::io::Error::other("no stock");
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(target: "shop::orders", items = 3, share = 0.5, big = u64::MAX, user.iban = "DE02", error, "not placed");
        });
        tracing::info!(target: "shop::orders", trace_id = "0af7651916cd43dd8448eb211c80319c", span_id = "none", "of another");
        tracing::error!(parent: None, text = "x".repeat(1 << 20), "of none");
        tracing::debug!("no line, and no record");
        rig.tasks.stop(Duration::from_secs(30)).await.unwrap();

        let request = receiver.logs.lock().unwrap()[0].clone();
        assert_eq!(request.resources.len(), 1);
        let attributes = |pairs: &[wire::KeyValue]| -> Vec<(String, wire::Value)> {
            pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone().unwrap().value.unwrap())).collect()
        };
        let text = |text: &str| wire::Value::Text(text.to_owned());
        let resource = attributes(&request.resources[0].resource.clone().unwrap().attributes);
        assert_eq!(
            resource,
            [("host.name".to_owned(), text("h")), ("service.name".to_owned(), text("shop"))]
        );
        let scopes = &request.resources[0].scopes;
        assert_eq!(scopes.len(), 2);
        assert_eq!(scopes[0].scope.clone().unwrap().name, "shop::orders");
        let [first, second] = &scopes[0].records[..] else { panic!("{scopes:?}") };
        assert_eq!((first.severity, &*first.severity_text), (13, "WARN"));
        assert_eq!(first.body.clone().unwrap().value.unwrap(), text("not placed"));
        let said = attributes(&first.attributes);
        let expected = [
            ("items", wire::Value::Int(3)),
            ("share", wire::Value::Float(0.5)),
            ("big", text("18446744073709551615")),
            ("user.iban", text("[redacted]")),
            ("error", text("no stock")),
        ];
        let (expected, ids) = (expected.map(|(name, value)| (name.to_owned(), value)), &said[5..]);
        assert_eq!(said[..5], expected);
        assert_eq!(ids.len(), 1);
        assert_eq!(ids[0].0, "request_id");
        assert_eq!(
            (&first.trace_id[..], &first.span_id[..]),
            (&trace.trace_id().to_bytes()[..], &trace.span_id().to_bytes()[..])
        );
        assert_eq!(first.flags, 1);
        assert!(first.at > 1_700_000_000_000_000_000 && first.observed == first.at);
        assert_eq!((second.trace_id[0], second.span_id.len()), (0x0a, 0));
        assert_eq!(attributes(&second.attributes), [("span_id".to_owned(), text("none"))]);
        let last = &scopes[1].records[0];
        assert!(last.trace_id.is_empty() && last.attributes.len() == 1);
        assert_eq!(attributes(&last.attributes)[0].1, text(&"x".repeat(16 << 10)));
        assert_eq!(rig.counted("mainstay.telemetry.logs.exported"), 3);
        // Nobody sends them any more.
        tracing::info!("late");
        assert_eq!(rig.counted("mainstay.telemetry.logs.dropped"), 1);
    }

    #[tokio::test]
    async fn what_is_logged_of_sending_is_not_sent() {
        let receiver = Receiver::start(Behaviour::Answers(400)).await;
        let rig = Rig::start(&config(receiver.address), Redact::none());
        tracing::info!("one");
        let refused = || rig.counted("mainstay.telemetry.logs.dropped") == 1;
        until("the receiver refuses it", refused).await;
        rig.tasks.stop(Duration::from_secs(30)).await.unwrap();
        assert_eq!((rig.counted("mainstay.telemetry.logs.dropped"), receiver.requests()), (1, 1));
        let complaint = rig.capture.line("log records can't be sent");
        assert_eq!(complaint["severity_text"], "WARN");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_receiver_that_hangs_and_what_is_too_much_is_counted() {
        let receiver = Receiver::start(Behaviour::Hangs).await;
        let mut config = config(receiver.address);
        (config.queue, config.batch) = (50, 10);
        let rig = Rig::start(&config, Redact::none());
        // As many as are written of one place.
        (0..100).for_each(|number| tracing::info!(number, "much"));
        assert!(rig.records.len() <= 50);
        assert_eq!(rig.counted("mainstay.telemetry.logs.dropped"), 50);
        rig.tasks.stop(Duration::from_secs(30)).await.unwrap();
        assert_eq!(rig.counted("mainstay.telemetry.logs.dropped"), 100);
    }

    #[tokio::test]
    async fn attributes_that_nobody_is_told_are_left_out_of_spans_whoever_set_them() {
        let receiver = Receiver::start(Behaviour::Answers(200)).await;
        let (registry, tasks) = (Registry::new(), Tasks::new());
        let made = exporter(&config(receiver.address), Resource::default(), &registry, &tasks);
        let (spans, exporter) = made.unwrap().unwrap();
        let exporter = exporter.with_redact(Redact::new(["client.address"]));
        tasks.spawn_detached(exporter.run(tasks.stopping(), Duration::from_secs(2)));
        let mut data = span("orders");
        data.attributes.push(("client.address".into(), "10.0.0.7".into()));
        spans.take(data);
        tasks.stop(Duration::from_secs(30)).await.unwrap();
        let request = receiver.got.lock().unwrap()[0].clone();
        let attribute = request.resources[0].scopes[0].spans[0].attributes[0].clone();
        assert_eq!(attribute.value.unwrap().value, Some(wire::Value::Text("[redacted]".to_owned())));
    }

    #[test]
    fn they_are_sent_only_where_that_is_asked_for() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a");
        let target = |variables: &[(&str, &str)]| {
            let settings = loader(variables).load().unwrap().get::<Settings>("");
            settings.otlp.target(config::Signal::Logs).map(|target| target.to_string())
        };
        assert_eq!(target(&[endpoint]), None);
        assert_eq!(target(&[endpoint, ("OTEL_LOGS_EXPORTER", "console")]), None);
        let otlp = ("OTEL_LOGS_EXPORTER", "otlp");
        assert_eq!(target(&[endpoint, otlp]).unwrap(), "http://a/v1/logs");
        let own = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://b/x");
        assert_eq!(target(&[endpoint, otlp, own]).unwrap(), "http://b/x");
        assert_eq!(
            target(&[endpoint, otlp, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap(),
            "http://a/opentelemetry.proto.collector.logs.v1.LogsService/Export"
        );
        let wrong = loader(&[("OTEL_LOGS_EXPORTER", "zipkin")]).load().unwrap_err();
        assert_eq!(wrong.findings()[0].key.to_string(), "otlp.logs");
    }
}
