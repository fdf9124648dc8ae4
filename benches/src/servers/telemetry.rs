//! What tells of requests, over `axum::serve`: trace context, spans that are sent by OTLP, metrics, request ids. Ours, and
//! what a careful team puts together for the same.

use std::{net::SocketAddr, time::Duration};

use axum::{extract::MatchedPath, http::Request, routing::get};
use axum_prometheus::PrometheusMetricLayer;
use mainstay::{
    context::Ambient,
    metrics::Registry,
    middleware::{
        context::{self, ContextLayer},
        route::RouteLayer,
    },
    observe,
    task::Tasks,
    telemetry::{logs, otlp, resource::Resource, sampling},
};
use opentelemetry::{propagation::TextMapPropagator as _, trace::TracerProvider as _};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tower::ServiceBuilder;
use tower_http::{
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::{Result, plain::axum_with, routes};
use crate::{Contestant, announce, until_told};

/// Of a hundred traces, so many are recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Percent(pub(super) u8);

impl Percent {
    fn share(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// Mainstay's layers, and its exporter.
pub(super) async fn ours(sampled: Percent, access_log: bool) -> Result {
    let receiver = Receiver::start()?;
    let (registry, tasks) = (Registry::new(), Tasks::new());
    let mut log = logs::Config::default();
    log.filter = if access_log { "info" } else { "warn" }.into();
    log.format = logs::Format::Json;
    logs::init(&log)?;
    let config = otlp::Config::default().with_endpoint(receiver.url());
    let (spans, exporter) =
        otlp::exporter(&config, Resource::detect(), &registry, &tasks)?.ok_or("no receiver")?;
    tasks.spawn_detached(exporter.run(tasks.stopping(), Duration::from_secs(1)));
    let mut sampling = sampling::Config::default();
    sampling.share = sampled.share();
    let server = observe::Server::new(&registry, "items", sampling.tracer(spans))?;
    let ambient = Ambient::default().with_server(server.with_access_log(access_log));
    let context = ContextLayer::new(context::Config::default()).with_ambient(ambient);
    axum_with(routes().layer(ServiceBuilder::new().layer(context).layer(RouteLayer::new()))).await
}

/// tower-http's, tracing-opentelemetry, OpenTelemetry's own exporter, and axum-prometheus.
pub(super) async fn by_hand(sampled: Percent, access_log: bool) -> Result {
    let receiver = Receiver::start()?;
    let url = format!("{}/v1/traces", receiver.url());
    // Its client blocks: not to be made in a runtime.
    let exporter = tokio::task::spawn_blocking(|| {
        opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(url).build()
    });
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sampled.share()))))
        .with_batch_exporter(exporter.await??)
        .build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("items"));
    let lines = tracing_subscriber::fmt::layer().json().with_filter(EnvFilter::new(if access_log {
        "info"
    } else {
        "warn"
    }));
    tracing_subscriber::registry().with(spans.with_filter(EnvFilter::new("info"))).with(lines).try_init()?;

    let (metrics, exposition) = PrometheusMetricLayer::pair();
    let propagator = TraceContextPropagator::new();
    let traces = TraceLayer::new_for_http()
        .make_span_with(move |request: &Request<axum::body::Body>| {
            let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
            let span = tracing::info_span!(
                "request",
                otel.name = format!("{} {route}", request.method()),
                otel.kind = "server",
                http.request.method = %request.method(),
                http.route = route,
                url.path = request.uri().path(),
                http.response.status_code = tracing::field::Empty,
            );
            // Refused where the span is recorded nowhere.
            let _ = span.set_parent(propagator.extract(&HeaderExtractor(request.headers())));
            span
        })
        .on_request(())
        .on_response(move |response: &http::Response<_>, took: Duration, span: &tracing::Span| {
            span.record("http.response.status_code", response.status().as_u16());
            if access_log {
                let duration_ms = took.as_secs_f64() * 1000.0;
                tracing::info!(status = response.status().as_u16(), duration_ms, "answered");
            }
        });
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(traces)
        .layer(metrics)
        .layer(PropagateRequestIdLayer::x_request_id());
    let exposition = get(async move || exposition.render());
    axum_with(routes().layer(layers).route("/metrics", exposition)).await?;
    Ok(provider.shutdown()?)
}

/// A process that takes whatever is sent to it.
struct Receiver(Contestant);

impl Receiver {
    /// On the processor of the load.
    fn start() -> std::io::Result<Self> {
        Contestant::start(Some(1), &[], &["--serve", RECEIVER]).map(Self)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.address())
    }
}

/// Its name, for `--serve`.
pub const RECEIVER: &str = "receiver";

/// Answers every request with 200 and an empty body, which is an empty answer of OTLP.
pub(super) async fn receive() -> Result {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    announce(address)?;
    let taken = axum::Router::new().fallback(async |_: axum::body::Bytes| ());
    axum::serve(listener, taken).with_graceful_shutdown(until_told()).await?;
    Ok(())
}
