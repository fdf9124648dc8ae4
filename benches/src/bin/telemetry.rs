//! What is told of requests, on its way out: a scrape of 10,000 series, and spans that are sent; against what a team would
//! take instead.
//!
//! ```text
//! cargo xtask bench telemetry -- [--spans 200000]
//! ```

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{error::Error, time::Duration};

use axum_prometheus::{
    metrics::{self as theirs, Label, Level, Metadata, Recorder as _},
    metrics_exporter_prometheus::{Matcher, PrometheusBuilder},
};
use mainstay::{
    context::TraceContext,
    metrics::{Definition, Registry},
    task::Tasks,
    telemetry::{metrics, otlp, resource::Resource},
    trace::{Kind, Sampler, SpanData, Tracer},
};
use mainstay_benches::{
    Arguments, Contestant, Table, cpu_time, median, resident_kib,
    servers::{RECEIVER, serve},
};
use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanKind, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::time::{Instant, sleep};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const ROUTES: usize = 100;
const STATUSES: [&str; 6] = ["200", "201", "204", "400", "404", "503"];
/// Those of the semantic conventions, in seconds: with the last bucket, sum and count a histogram has 17 series.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const NAME: &str = "http_server_request_duration_seconds";

/// So many spans at a time, and a moment until they have been sent: what does not fit into the queue would be lost.
const BURST: u64 = 512;
const PAUSE: Duration = Duration::from_millis(20);

fn main() -> Result {
    let arguments = Arguments::read(&["--serve", "--spans"])?;
    if let Some(name) = arguments.text("--serve") {
        return serve(name);
    }
    let spans = arguments.number("--spans", 200_000)?;
    println!(
        "\n{} series, of {} histograms\n\n{}",
        17 * ROUTES * STATUSES.len(),
        ROUTES * STATUSES.len(),
        scrapes()?
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    println!("{spans} spans of six attributes, sent over HTTP\n\n{}", runtime.block_on(exports(spans))?);
    Ok(())
}

fn scrapes() -> Result<Table> {
    let mut table =
        Table::new(&["exposition", "a scrape, ms", "KiB of text", "KiB of memory for the series"]);
    let memory = || resident_kib(std::process::id());

    let before = memory()?;
    let registry = Registry::new();
    let definition =
        Definition::new("http.server.request.duration", "s", "How long requests took").with_bounds(BOUNDS);
    let family =
        registry.histogram(definition, ["http.request.method", "http.route", "http.response.status_code"])?;
    for route in routes() {
        for status in STATUSES {
            let histogram = family.with(["GET", &route, status]);
            (0..100).for_each(|turn| histogram.record(f64::from(turn) / 100.0));
        }
    }
    let taken = memory()? - before;
    let resource = Resource::detect();
    let mut row = |name: &str, taken: u64, text: &dyn Fn() -> String| {
        let (took, length) = timed(text);
        table.row([name.to_owned(), format!("{took:.2}"), (length / 1024).to_string(), taken.to_string()]);
    };
    row("Mainstay, Prometheus' text", taken, &|| metrics::prometheus(&registry.read(), &resource));
    row("Mainstay, OpenMetrics", taken, &|| metrics::openmetrics(&registry.read(), &resource));

    let before = memory()?;
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(NAME.to_owned()), &BOUNDS)?
        .build_recorder();
    let source = Metadata::new("bench", Level::INFO, None);
    for route in routes() {
        for status in STATUSES {
            let labels = [("method", "GET"), ("route", &route), ("status", status)];
            let labels: Vec<Label> = labels.map(|(name, value)| Label::new(name, value.to_owned())).into();
            let histogram = recorder.register_histogram(&theirs::Key::from_parts(NAME, labels), &source);
            (0..100).for_each(|turn| histogram.record(f64::from(turn) / 100.0));
        }
    }
    let handle = recorder.handle();
    // What was recorded is put into buckets by the first one.
    handle.render();
    row("metrics-exporter-prometheus", memory()? - before, &|| handle.render());
    Ok(table)
}

fn routes() -> impl Iterator<Item = String> {
    (0..ROUTES).map(|index| format!("/orders/{{order}}/lines/{index}"))
}

/// Milliseconds and bytes.
fn timed(text: &dyn Fn() -> String) -> (f64, usize) {
    let length = text().len();
    let took = median((0..50).map(|_| {
        let start = Instant::now();
        std::hint::black_box(text());
        start.elapsed().as_secs_f64() * 1e3
    }));
    (took, length)
}

async fn exports(count: u64) -> Result<Table> {
    let receiver = Contestant::start(None, &[], &["--serve", RECEIVER])?;
    let url = format!("http://{}", receiver.address());
    let mut table =
        Table::new(&["exporter", "spans taken", "CPU µs a span, made and sent", "spans a second of CPU"]);
    let (mine, cpu) = ours(&url, count).await?;
    table.row(row("Mainstay", mine, cpu));
    let (taken, cpu) = by_hand(&url, count).await?;
    table.row(row("OpenTelemetry's batch exporter", taken, cpu));
    receiver.finish()?;
    Ok(table)
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn row(name: &str, taken: u64, cpu: Duration) -> [String; 4] {
    let micros = cpu.as_secs_f64() * 1e6 / taken.max(1) as f64;
    [name.to_owned(), taken.to_string(), format!("{micros:.2}"), format!("{:.0}", 1e6 / micros)]
}

/// How many the receiver has taken, and the CPU for all of it.
async fn ours(url: &str, count: u64) -> Result<(u64, Duration)> {
    let (registry, tasks) = (Registry::new(), Tasks::new());
    let config = otlp::Config::default().with_endpoint(url);
    let (spans, exporter) =
        otlp::exporter(&config, Resource::detect(), &registry, &tasks)?.ok_or("no receiver")?;
    tasks.spawn_detached(exporter.run(tasks.stopping(), Duration::from_secs(10)));
    let tracer = Tracer::new(Sampler::share(1.0), spans);
    let service: std::sync::Arc<str> = "orders".into();
    let before = cpu_time("self")?;
    for burst in 0..count / BURST {
        for turn in 0..BURST {
            let data = SpanData::new(
                service.clone(),
                "GET /orders/{order}",
                Kind::Server,
                TraceContext::root().sampled(true),
            );
            let span = tracer.start(data);
            span.set("http.request.method", "GET");
            span.set("url.scheme", "http");
            span.set("url.path", format!("/orders/{}", burst * BURST + turn));
            span.set("http.route", "/orders/{order}");
            span.set("http.response.status_code", 200);
            span.set("network.protocol.version", "1.1");
            span.end();
        }
        sleep(PAUSE).await;
    }
    drop(tracer);
    tasks.stop(Duration::from_secs(10)).await?;
    let cpu = cpu_time("self")? - before;
    let exported =
        registry.read().into_iter().find(|metric| metric.name == "mainstay.telemetry.spans.exported");
    let text = metrics::prometheus(&exported.into_iter().collect::<Vec<_>>(), &Resource::default());
    let taken = text.lines().find(|line| line.starts_with("mainstay_telemetry_spans_exported"));
    let taken = taken.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let taken = taken.unwrap_or_default() as u64;
    Ok((taken, cpu))
}

/// All are counted as taken: the queue is never full, and a receiver that took ours takes these.
async fn by_hand(url: &str, count: u64) -> Result<(u64, Duration)> {
    let url = format!("{url}/v1/traces");
    let exporter = tokio::task::spawn_blocking(|| {
        opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(url).build()
    });
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter.await??).build();
    let tracer = provider.tracer("orders");
    let before = cpu_time("self")?;
    for burst in 0..count / BURST {
        for turn in 0..BURST {
            let mut span =
                tracer.span_builder("GET /orders/{order}").with_kind(SpanKind::Server).start(&tracer);
            span.set_attribute(KeyValue::new("http.request.method", "GET"));
            span.set_attribute(KeyValue::new("url.scheme", "http"));
            span.set_attribute(KeyValue::new("url.path", format!("/orders/{}", burst * BURST + turn)));
            span.set_attribute(KeyValue::new("http.route", "/orders/{order}"));
            span.set_attribute(KeyValue::new("http.response.status_code", 200));
            span.set_attribute(KeyValue::new("network.protocol.version", "1.1"));
            span.end();
        }
        sleep(PAUSE).await;
    }
    tokio::task::spawn_blocking(move || provider.shutdown()).await??;
    Ok((count / BURST * BURST, cpu_time("self")? - before))
}
