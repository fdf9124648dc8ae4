//! What one test made of spans, metrics and log lines, apart from all others.
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use mainstay_core::middleware::{context::ContextLayer, route::RouteLayer};
//! use mainstay_telemetry::test::Capture;
//! use tower::ServiceExt as _;
//!
//! #[tracing::instrument]
//! fn find(id: u32) {
//!     tracing::info!("found");
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let telemetry = Capture::start();
//! let app = Router::new()
//!     .route("/orders/{id}", get(async || find(7)))
//!     .route_layer(RouteLayer::new())
//!     .layer(ContextLayer::default().with_ambient(telemetry.ambient("orders")));
//! let request = http::Request::get("/orders/7").body(Body::empty()).unwrap();
//! drop(app.oneshot(request).await);
//!
//! let request = telemetry.span("GET /orders/{id}");
//! let within = telemetry.children_of(&request);
//! assert_eq!((within.len(), &*within[0].name), (1, "find"));
//! assert_eq!(telemetry.line("found")["span_id"], within[0].trace.span_id().to_string());
//! let labels = [("service.name", "orders"), ("http.response.status_code", "200")];
//! assert_eq!(telemetry.metric("http.server.request.duration", &labels), 1.0);
//! # }
//! ```
//!
//! **Apart**: tests that run beside each other in one process see nothing of each other. What belongs to a test is what runs on
//! its thread, what [`Tasks`](mainstay_core::task::Tasks) spawn there, and what that spawns, on whatever threads: under
//! tokio's `current_thread` runtime as under `multi_thread`, in a server, a client, blocking work. A future or a thread that
//! is spawned otherwise has it by [`Capture::dispatch`] (`WithSubscriber`, `tracing::dispatcher::with_default`).
//!
//! **On drop** the thread has the subscriber back that it had before.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainstay_core::{
    context::{Ambient, RequestContext, TraceContext},
    metrics::{Metric, Point, Registry},
    observe,
    task::{self, Carried},
    trace::{Kind, Sampler, Sink, SpanData, Tracer},
};
use serde_json::Value;
use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    logs::{self, Format},
    redact::Redact,
};

/// Takes what one test makes of spans, metrics and log lines.
///
/// It is that of the thread that started it, as long as it lives, and of what is spawned there through
/// [`Tasks`](mainstay_core::task::Tasks).
///
/// # Panics
/// As assertions do: all that look something up, where it is not there, or there more than once.
pub struct Capture {
    taken: Taken,
    registry: Registry,
    tracer: Tracer,
    dispatch: Dispatch,
    logs: logs::Handle,
    _carried: Carried,
}

#[derive(Clone)]
struct Taken {
    redact: Redact,
    spans: Arc<Mutex<Vec<SpanData>>>,
    lines: Arc<Mutex<Vec<u8>>>,
}

impl Capture {
    /// With spans of `tracing` from `info`, and lines from `debug`, however often they repeat.
    #[must_use]
    pub fn start() -> Self {
        let all = logs::repeats::Config::off();
        Self::with(&logs::Config::default().with_filter("debug").with_repeats(all))
    }

    /// With lines and spans as this configuration has them filtered and redacted.
    ///
    /// # Panics
    /// Where its directives can't be read.
    #[must_use]
    #[track_caller]
    pub fn with(config: &logs::Config) -> Self {
        let taken = Taken { redact: config.redact.clone(), spans: Arc::default(), lines: Arc::default() };
        let config = config.clone().with_format(Format::Json);
        let (dispatch, logs) = match logs::subscriber(&config, None, false, taken.clone()) {
            Ok((subscriber, logs)) => (Dispatch::new(subscriber), logs),
            Err(error) => panic!("{error}"),
        };
        let carried = task::carry(dispatch.clone());
        let tracer = Tracer::new(Sampler::share(1.0).regardless_of_parents(), taken.clone());
        Self { taken, registry: Registry::new(), tracer, dispatch, logs, _carried: carried }
    }

    /// Records every request, whatever its caller decided.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// For the metrics of the test.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The subscriber, for `WithSubscriber` or a thread of the test's own.
    #[must_use]
    pub fn dispatch(&self) -> Dispatch {
        self.dispatch.clone()
    }

    /// Changes which lines are taken.
    #[must_use]
    pub fn logs(&self) -> &logs::Handle {
        &self.logs
    }

    /// For a context layer whose requests are observed as those of `service`, with the registry for its own metrics.
    ///
    /// # Panics
    /// Where the registry has other metrics under the names of those of requests.
    #[must_use]
    #[track_caller]
    pub fn ambient(&self, service: &str) -> Ambient {
        match observe::Server::new(&self.registry, service, self.tracer()) {
            Ok(server) => Ambient::default().with(self.registry.clone()).with_server(server),
            Err(error) => panic!("{error}"),
        }
    }

    /// The context of a request that is recorded, for code without a stack around it. Its span ends with it.
    #[must_use]
    pub fn request(&self, name: impl Into<String>) -> RequestContext {
        let trace = TraceContext::root().sampled(true);
        let data = SpanData::new("test".into(), name.into(), Kind::Server, trace);
        RequestContext::new().with_span(self.tracer.start(data))
    }

    /// All spans that have ended, in that order.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanData> {
        lock(&self.taken.spans).clone()
    }

    /// The one span of this name.
    ///
    /// # Panics
    /// Where there is none, or another.
    #[must_use]
    #[track_caller]
    pub fn span(&self, name: &str) -> SpanData {
        let spans = self.spans();
        let mut found = spans.iter().filter(|span| span.name == name);
        match (found.next(), found.next()) {
            (Some(span), None) => span.clone(),
            (first, _) => {
                let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
                let how_many = if first.is_some() { "more than one" } else { "no" };
                panic!("{how_many} span `{name}` among those that have ended: {names:?}")
            }
        }
    }

    /// The spans that have this one as their parent, in the order in which they ended.
    #[must_use]
    pub fn children_of(&self, parent: &SpanData) -> Vec<SpanData> {
        let is_child = |span: &SpanData| {
            span.trace.trace_id() == parent.trace.trace_id() && span.parent() == Some(parent.trace.span_id())
        };
        self.spans().into_iter().filter(is_child).collect()
    }

    /// The metrics as they are now.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        self.registry.read()
    }

    /// What the series of this metric with these labels, and any others, add up to; of a histogram the number of its values.
    ///
    /// # Panics
    /// Where there is no such series.
    #[must_use]
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let metrics = self.metrics();
        let series = metrics.iter().filter(|metric| metric.name == name).flat_map(|metric| &metric.series);
        let found: Vec<f64> = series
            .clone()
            .filter(|series| labels.iter().all(|(name, value)| series.labels.get(name) == Some(value)))
            .map(|series| value(&series.point))
            .collect();
        if found.is_empty() {
            let has: Vec<_> = series.map(|series| &series.labels).collect();
            panic!("no series of `{name}` has {labels:?}, among {has:?}")
        }
        found.iter().sum()
    }

    /// All log lines, as JSON.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let lines = lock(&self.taken.lines);
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap_or_default()).collect()
    }

    /// The one line with this body.
    ///
    /// # Panics
    /// Where there is none, or another.
    #[must_use]
    #[track_caller]
    pub fn line(&self, body: &str) -> Value {
        let lines = self.lines();
        let mut found = lines.iter().filter(|line| line["body"] == body);
        match (found.next(), found.next()) {
            (Some(line), None) => line.clone(),
            (first, _) => {
                let bodies: Vec<_> = lines.iter().map(|line| &line["body"]).collect();
                let how_many = if first.is_some() { "more than one" } else { "no" };
                panic!("{how_many} line `{body}` among {bodies:?}")
            }
        }
    }
}

fn value(point: &Point) -> f64 {
    match point {
        Point::Counter(count) => *count as f64,
        Point::Number(number) => *number,
        Point::Histogram(buckets) => buckets.count() as f64,
        _ => f64::NAN,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for Taken {
    fn take(&self, mut span: SpanData) {
        self.redact.span(&mut span);
        lock(&self.spans).push(span);
    }
}

impl io::Write for Taken {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.lines).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Taken {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("spans", &self.spans().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::{metrics::Definition, task::Tasks};
    use tokio::sync::{Barrier, mpsc};

    use super::*;

    /// A test with all that it spawns, beside others: each step is taken by all at the same time.
    async fn one_of_many(name: &'static str, all: Arc<Barrier>) {
        let (capture, tasks) = (Capture::start(), Tasks::new());
        let count =
            capture.registry().counter(Definition::new("steps", "{step}", "Steps"), ["test"]).unwrap();
        let (told, mut heard) = mpsc::unbounded_channel();
        let step = move |what: &'static str| {
            count.with([name]).add(1);
            tracing::info_span!("step", what).in_scope(|| tracing::info!(test = name, "{what}"));
            let _ = told.send(what);
        };
        capture.request("test").sync_scope(|| {
            let (within, blocking) = (tasks.clone(), step.clone());
            tasks.spawn(async move {
                all.wait().await;
                step("spawned");
                tokio::task::yield_now().await;
                all.wait().await;
                step("later");
                within.spawn_detached(async move { step("spawned by that") });
            });
            tasks.spawn_blocking(move || blocking("blocking"));
        });
        let mut expected = vec!["blocking", "later", "spawned", "spawned by that"];
        for _ in &expected {
            tokio::time::timeout(std::time::Duration::from_secs(60), heard.recv()).await.unwrap().unwrap();
        }
        // The request ends with the last that belongs to it.
        tasks.stop(std::time::Duration::from_secs(60)).await.unwrap();
        let lines = capture.lines();
        let mut bodies: Vec<_> = lines.iter().map(|line| line["body"].as_str().unwrap()).collect();
        bodies.sort_unstable();
        assert_eq!(bodies, expected);
        assert!(lines.iter().all(|line| line["attributes"]["test"] == name), "{lines:?}");
        assert_eq!(capture.metric("steps", &[]), 4.0);
        // What outlives a request is in no trace.
        expected.pop();
        let request = capture.span("test");
        let mut steps: Vec<_> =
            capture.children_of(&request).iter().map(|span| format!("{:?}", span.get("what"))).collect();
        steps.sort_unstable();
        let expected: Vec<_> = expected
            .iter()
            .map(|what| format!("{:?}", Some(mainstay_core::trace::Value::from(*what))))
            .collect();
        assert_eq!(steps, expected);
    }

    #[test]
    fn tests_that_run_beside_each_other_see_each_only_its_own() {
        let names = ["a", "b", "c", "d"];
        let all = Arc::new(Barrier::new(names.len()));
        let run = |(index, name): (usize, &'static str)| {
            let all = Arc::clone(&all);
            std::thread::spawn(move || {
                let mut runtime = match index % 2 {
                    0 => tokio::runtime::Builder::new_current_thread(),
                    _ => tokio::runtime::Builder::new_multi_thread(),
                };
                runtime.worker_threads(2).enable_all().build().unwrap().block_on(one_of_many(name, all));
            })
        };
        let running: Vec<_> = names.into_iter().enumerate().map(run).collect();
        running.into_iter().for_each(|test| test.join().unwrap());
    }

    #[test]
    fn what_happens_in_one_is_not_in_another() {
        let outer = Capture::start();
        {
            let inner = Capture::start();
            inner
                .request("inner")
                .sync_scope(|| tracing::info_span!("step").in_scope(|| tracing::info!("a")));
            assert_eq!(inner.children_of(&inner.span("inner")), [inner.span("step")]);
            assert_eq!(inner.line("a")["spans"][0]["name"], "step");
        }
        tracing::info!("b");
        assert_eq!((outer.spans().len(), outer.lines().len()), (0, 1));
    }

    #[test]
    fn series_are_found_by_some_of_their_labels() {
        let capture = Capture::start();
        let sold = Definition::new("shop.sold", "{item}", "Items that were sold");
        let sold = capture.registry().counter(sold, ["kind", "to"]).unwrap();
        sold.with(["book", "de"]).add(2);
        sold.with(["book", "fr"]).add(1);
        assert_eq!(capture.metric("shop.sold", &[("kind", "book")]), 3.0);
        assert_eq!(capture.metric("shop.sold", &[("kind", "book"), ("to", "fr")]), 1.0);
    }

    #[test]
    #[should_panic(expected = "no span `nothing` among those that have ended: [\"something\"]")]
    fn what_is_not_there_is_told_with_what_is() {
        let capture = Capture::start();
        drop(capture.request("something"));
        let _ = capture.span("nothing");
    }

    #[test]
    #[should_panic(expected = "no series of `shop.sold`")]
    fn a_series_that_is_not_there_is_no_zero() {
        let _ = Capture::start().metric("shop.sold", &[]);
    }
}
