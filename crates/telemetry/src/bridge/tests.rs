use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
};

use mainstay_core::{
    context::{RequestContext, SpanId, TraceContext},
    task::Tasks,
    trace::{Kind, Sampler, Sink, Span, SpanData, Status, Tracer, Value},
};
use tracing::{Instrument as _, info_span, level_filters::LevelFilter};
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};

use super::*;

#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl Sink for Ended {
    fn take(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

impl Ended {
    fn find(&self, name: &str) -> SpanData {
        let spans = self.0.lock().unwrap();
        let mut found = spans.iter().filter(|span| span.name == name);
        let first = found.next().unwrap_or_else(|| panic!("no span {name} in {spans:#?}")).clone();
        assert_eq!(found.next(), None, "two spans {name}");
        first
    }

    fn id(&self, name: &str) -> Option<SpanId> {
        Some(self.find(name).trace.span_id())
    }

    fn parent(&self, name: &str) -> Option<SpanId> {
        self.find(name).parent()
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|span| span.name.to_string()).collect()
    }
}

/// A request that is recorded.
fn request(ended: &Ended, name: &'static str) -> RequestContext {
    let tracer = Tracer::new(Sampler::share(1.0), ended.clone());
    let trace = TraceContext::root().sampled(true);
    RequestContext::new().with_span(tracer.start(SpanData::new("test".into(), name, Kind::Server, trace)))
}

fn bridged() -> tracing::subscriber::DefaultGuard {
    let bridge = Bridge::new();
    let filter = bridge.filter(LevelFilter::INFO);
    tracing::subscriber::set_default(tracing_subscriber::registry().with(bridge.with_filter(filter)))
}

async fn turn() {
    let mut waited = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[tracing::instrument(err, skip(password))]
fn charge(card: &str, password: &str) -> Result<(), String> {
    tracing::debug!("too fine");
    Err(format!("{card} is refused, {}", password.len()))
}

#[test]
fn spans_of_user_code_are_children_with_their_fields_and_events() {
    let (ended, _guard) = (Ended::default(), bridged());
    request(&ended, "root").sync_scope(|| {
        let span = info_span!("place", items = 3, user.password = "hunter2", total = tracing::field::Empty);
        let entered = span.enter();
        span.record("total", 9.5);
        tracing::info!(token = "abc", stock = 7_u64, "reserved");
        Span::current().child("by hand").end();
        charge("4711", "x").unwrap_err();
        drop(entered);
        assert_eq!(
            Span::current().trace().map(|trace| trace.span_id()),
            RequestContext::current().map(|c| c.trace().span_id())
        );
        tracing::error!("of the request itself");
    });
    let place = ended.find("place");
    assert_eq!(place.get("items"), Some(&Value::Int(3)));
    assert_eq!(place.get("total"), Some(&Value::Float(9.5)));
    assert_eq!(place.get("user.password"), Some(&Value::from("[redacted]")));
    assert_eq!(place.status, Status::Unset);
    assert_eq!(place.events.len(), 1);
    assert_eq!(place.events[0].name, "reserved");
    let attributes: Vec<_> =
        place.events[0].attributes.iter().map(|(name, value)| (&**name, value.clone())).collect();
    assert_eq!(
        attributes,
        [
            ("level", "INFO".into()),
            ("target", "mainstay_telemetry::bridge::tests".into()),
            ("token", "[redacted]".into()),
            ("stock", 7_u64.into())
        ]
    );
    let charge = ended.find("charge");
    assert_eq!(charge.get("card"), Some(&Value::from("4711")));
    assert_eq!(charge.status, Status::Error("4711 is refused, 1".into()));
    assert_eq!(charge.events[0].name, "exception");
    for child in ["by hand", "charge"] {
        assert_eq!(ended.parent(child), ended.id("place"), "{child}");
    }
    let root = ended.find("root");
    assert_eq!((place.parent(), root.status.clone()), (Some(root.trace.span_id()), Status::Unset));
    assert_eq!(root.events[0].name, "of the request itself");
}

#[test]
fn what_opentelemetry_says_by_fields_is_heard() {
    let (ended, _guard) = (Ended::default(), bridged());
    request(&ended, "root").sync_scope(|| {
        let span = info_span!("x", otel.name = "SELECT orders", otel.kind = "client");
        span.record("otel.kind", "server");
        drop(span);
        drop(info_span!("bad", otel.status_code = "ERROR", otel.status_description = "gone"));
    });
    assert_eq!(ended.find("SELECT orders").kind, Kind::Client);
    assert_eq!(ended.find("bad").status, Status::Error("gone".into()));
}

#[test]
fn nothing_is_made_of_a_span_where_nothing_is_recorded() {
    let (ended, _guard) = (Ended::default(), bridged());
    drop(info_span!("outside"));
    RequestContext::new().sync_scope(|| {
        info_span!("not sampled").in_scope(|| assert!(!Span::current().is_recording()));
    });
    request(&ended, "root").sync_scope(|| {
        assert!(tracing::debug_span!("too fine").is_disabled());
        info_span!("recorded").in_scope(|| assert!(Span::is_current_recording()));
    });
    assert_eq!(ended.names(), ["recorded", "root"]);
}

#[tokio::test]
async fn requests_that_take_turns_on_a_thread_keep_to_their_own() {
    let (ended, _guard) = (Ended::default(), bridged());
    let handle = async |inner: &'static str, deep: &'static str| {
        async {
            turn().await;
            turn().await;
            drop(info_span!("deep", otel.name = deep));
            turn().await;
        }
        .instrument(info_span!("inner", otel.name = inner))
        .await;
        drop(info_span!("after", otel.name = deep.replace("deep", "after")));
    };
    let one = request(&ended, "one").scope(handle("inner 1", "deep 1"));
    let two = request(&ended, "two").scope(handle("inner 2", "deep 2"));
    tokio::join!(one, two);
    assert_eq!(Span::current().trace(), None);
    for (number, root) in [("1", "one"), ("2", "two")] {
        let name = |what: &str| format!("{what} {number}");
        assert_eq!(ended.parent(&name("inner")), ended.id(root));
        assert_eq!(ended.parent(&name("deep")), ended.id(&name("inner")));
        assert_eq!(ended.parent(&name("after")), ended.id(root));
        assert_eq!(ended.find(&name("deep")).trace.trace_id(), ended.find(root).trace.trace_id());
    }
}

#[tokio::test]
async fn spawned_and_blocking_work_belongs_to_the_span_that_spawned_it() {
    let (ended, _guard) = (Ended::default(), bridged());
    let tasks = Tasks::new();
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let handler = async {
        let spawned = tasks.spawn(async {
            turn().await;
            drop(info_span!("spawned"));
        });
        let blocking = tasks.spawn_blocking(move || {
            // The subscriber of a test is that of its thread.
            tracing::dispatcher::with_default(&dispatch, || drop(info_span!("blocking")));
        });
        // What serves connections is no part of the request that happened to open one.
        let detached = tasks.spawn_detached(async {
            assert!(info_span!("connection").in_scope(|| !Span::current().is_recording()));
        });
        (spawned.await.unwrap(), blocking.await.unwrap(), detached.await.unwrap())
    };
    request(&ended, "root").scope(async { handler.instrument(info_span!("handler")).await }).await;
    for child in ["spawned", "blocking"] {
        assert_eq!(ended.parent(child), ended.id("handler"), "{child}");
    }
    assert!(!ended.names().contains(&"connection".to_owned()));
}

#[tokio::test]
async fn a_body_that_is_made_while_it_is_sent_belongs_to_its_request() {
    use axum::{Router, body::Body, routing::get};
    use http_body_util::BodyExt as _;
    use mainstay_core::{context::Ambient, metrics::Registry, middleware::context::ContextLayer, observe};
    use tower::ServiceExt as _;

    let (ended, _guard) = (Ended::default(), bridged());
    let tracer = Tracer::new(Sampler::share(1.0), ended.clone());
    let server = observe::Server::new(&Registry::new(), "test", tracer).unwrap();
    let stream = || {
        let mut left = ["first", "second"].into_iter();
        futures_util::stream::poll_fn(move |_| {
            Poll::Ready(left.next().map(|name| {
                drop(info_span!("frame", otel.name = name));
                Ok::<_, Infallible>(name)
            }))
        })
    };
    let app = Router::new()
        .route("/", get(async move || info_span!("handler").in_scope(|| Body::from_stream(stream()))))
        .layer(ContextLayer::default().with_ambient(Ambient::default().with_server(server)));
    let answer = app.oneshot(http::Request::new(Body::empty())).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "firstsecond");
    for child in ["handler", "first", "second"] {
        assert_eq!(ended.parent(child), ended.id("GET"), "{child}");
    }
}

#[test]
fn a_task_of_one_request_that_is_polled_in_another_is_no_parent_there() {
    let (ended, _guard) = (Ended::default(), bridged());
    let shared = request(&ended, "one").sync_scope(|| info_span!("shared"));
    request(&ended, "two").sync_scope(|| shared.in_scope(|| drop(info_span!("inner"))));
    assert_eq!(ended.parent("inner"), ended.id("two"));
}

#[test]
fn a_parent_that_is_given_counts_and_a_root_is_left_out() {
    let (ended, _guard) = (Ended::default(), bridged());
    let span = request(&ended, "root").sync_scope(|| {
        drop(info_span!(parent: None, "alone"));
        info_span!("given")
    });
    assert!(!Span::current().is_recording());
    drop(info_span!(parent: &span, "child"));
    tracing::info!(parent: &span, "happened");
    drop(span);
    assert_eq!(ended.parent("child"), ended.id("given"));
    assert_eq!(ended.find("given").events[0].name, "happened");
    assert!(!ended.names().contains(&"alone".to_owned()));
}

#[test]
fn spans_may_be_left_in_another_order_than_they_were_entered() {
    let (ended, _guard) = (Ended::default(), bridged());
    request(&ended, "root").sync_scope(|| {
        let (outer, inner) = (info_span!("outer"), info_span!("inner"));
        let (outer, inner) = (outer.entered(), inner.entered());
        drop(outer);
        drop(info_span!("within inner"));
        drop(inner);
        drop(info_span!("after"));
    });
    assert_eq!(ended.parent("within inner"), ended.id("inner"));
    assert_eq!(ended.parent("after"), ended.id("root"));
}

#[test]
fn what_goes_on_after_its_guard_was_forgotten_on_another_thread_is_nobodys_parent() {
    let (ended, _guard) = (Ended::default(), bridged());
    let context = request(&ended, "root");
    let mut task = pin!(context.scope(async {
        // What clippy warns of: the thread stays in the span while others run on it.
        let _entered = info_span!("held").entered();
        turn().await;
    }));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::future::Future::poll(task.as_mut(), &mut cx).is_pending());
    request(&ended, "other").sync_scope(|| drop(info_span!("innocent")));
    assert!(!Span::current().is_recording());
    assert!(std::future::Future::poll(task, &mut cx).is_ready());
    assert_eq!(ended.parent("innocent"), ended.id("other"));
}
