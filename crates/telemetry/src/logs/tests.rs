use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay_core::{
    context::{RequestContext, TraceContext},
    trace::{Kind, Sampler, Sink, SpanData, Tracer},
};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::{init::subscriber, *};
use crate::redact::Redact;

/// What was written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn logged(config: &Config, environment: Option<&str>, terminal: bool, log: impl FnOnce(&Handle)) -> Written {
    let written = Written::default();
    let (subscriber, handle) = subscriber(config, environment, terminal, written.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || log(&handle));
    written
}

fn request() -> RequestContext {
    let trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
    RequestContext::new().with_trace(trace).with_request_id("r-17".parse().unwrap())
}

#[test]
fn a_line_outside_of_a_terminal_is_json_with_every_field_in_its_place() {
    let written = logged(&Config::default(), None, false, |_| {
        let span = tracing::info_span!("order", id = 7);
        let _entered = span.enter();
        let error = io::Error::other("disk full");
        let cause: &(dyn std::error::Error + 'static) = &error;
        tracing::warn!(
            items = 3,
            share = 0.5,
            ratio = f64::INFINITY,
            gift = true,
            cause,
            "placed\nand \"paid\""
        );
    });
    let line = &written.lines()[0];
    assert_eq!(line["severity_text"], "WARN");
    assert_eq!(line["severity_number"], 13);
    assert_eq!(line["scope"], "mainstay_telemetry::logs::tests");
    assert_eq!(line["body"], "placed\nand \"paid\"");
    let fields = json!({"items": 3, "share": 0.5, "ratio": "inf", "gift": true, "cause": "disk full"});
    assert_eq!(line["attributes"], fields);
    assert_eq!(line["spans"], json!([{"name": "order", "id": 7}]));
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 27 && timestamp.ends_with('Z') && &timestamp[10..11] == "T", "{timestamp}");
    assert_eq!(line.get("trace_id"), None);
    assert_eq!(written.text().lines().count(), 1);
    assert!(written.text().starts_with("{\"timestamp\":"), "{}", written.text());
}

#[test]
fn inside_of_a_request_a_line_has_its_ids_unless_the_event_says_others() {
    let log = |_: &Handle| {
        request().sync_scope(|| {
            tracing::info!("of the request");
            tracing::info!(trace_id = %"ffff", "of another");
        });
        tracing::info!("of none");
    };
    let lines = logged(&Config::default(), None, false, log).lines();
    assert_eq!(lines[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(lines[0]["request_id"], "r-17");
    assert_eq!(lines[0]["span_id"].as_str().unwrap().len(), 16);
    assert_eq!(lines[1]["trace_id"], "ffff");
    assert_eq!(lines[1].get("span_id"), None, "the span of another trace is not known");
    assert_eq!(lines[1].get("attributes"), None, "an id is not repeated among the fields");
    assert_eq!(lines[2].get("trace_id"), None);

    let text = logged(&Config::default().with_format(Format::Text), None, false, log).text();
    let lines: Vec<&str> = text.lines().collect();
    let (line, span) = lines[0].split_once(" span_id=").unwrap();
    assert!(line.ends_with("of the request trace_id=4bf92f3577b34da6a3ce929d0e0e4736"), "{text}");
    assert!(span.len() == 16 + " request_id=r-17".len() && span.ends_with(" request_id=r-17"), "{text}");
    assert!(lines[1].contains("trace_id=ffff") && !lines[1].contains("4bf9"), "{text}");
    assert!(lines[2].ends_with("of none"), "{text}");
}

#[test]
fn a_terminal_gets_text_and_a_configured_format_goes_before_that() {
    let log = |_: &Handle| tracing::info!("hello");
    assert!(logged(&Config::default(), None, true, log).text().contains("hello"));
    assert!(!logged(&Config::default(), None, true, log).text().starts_with('{'));
    assert!(logged(&Config::default().with_format(Format::Json), None, true, log).text().starts_with('{'));
    assert!(!logged(&Config::default().with_format(Format::Text), None, false, log).text().starts_with('{'));
}

#[test]
fn the_environment_goes_before_the_configuration_unless_it_is_empty() {
    let log = |_: &Handle| {
        tracing::debug!("fine");
        tracing::error!("bad");
    };
    let config = Config::default().with_filter("debug");
    let count = |environment| logged(&config, environment, false, log).lines().len();
    assert_eq!(count(None), 2);
    assert_eq!(count(Some("  ")), 2);
    assert_eq!(count(Some("error")), 1);
}

#[test]
fn the_filter_can_be_changed_and_a_wrong_one_changes_nothing() {
    let written = logged(&Config::default(), None, false, |handle| {
        tracing::debug!("not yet");
        handle.set_filter("mainstay_telemetry=debug").unwrap();
        tracing::debug!("now");
        assert!(matches!(handle.set_filter("a=b=c"), Err(Error::Filter { .. })));
        assert!(matches!(handle.set_filter("inof"), Err(Error::Filter { .. })));
        tracing::debug!("still");
    });
    let messages: Vec<Value> = written.lines().iter().map(|line| line["body"].clone()).collect();
    assert_eq!(messages, ["now", "still"]);
}

#[test]
fn a_wrong_filter_is_refused_by_its_key() {
    let refused = |config: &Config, environment| {
        subscriber(config, environment, false, io::sink).map(|_| ()).unwrap_err().to_string()
    };
    let expected = "expected directives such as `info` or `info,shop=debug,hyper=warn`";
    let config = Config::default().with_filter("shop=loud");
    assert_eq!(refused(&config, None), format!("log.filter is `shop=loud`, {expected}"));
    assert_eq!(refused(&config, Some("info")), format!("log.filter is `shop=loud`, {expected}"));
    assert_eq!(refused(&Config::default(), Some("a=b=c")), format!("RUST_LOG is `a=b=c`, {expected}"));
}

#[test]
fn a_second_init_is_an_error_and_no_panic() {
    let config = Config::default().with_output(Output::Stderr);
    let first = init(&config);
    assert!(first.is_ok(), "{first:?}");
    assert!(matches!(init(&config), Err(Error::AlreadySet)));
}

#[test]
fn the_configuration_refuses_what_it_does_not_know() {
    let config: Config = serde_json::from_str(r#"{"format": "json", "output": "stderr"}"#).unwrap();
    assert_eq!(config, Config::default().with_format(Format::Json).with_output(Output::Stderr));
    assert!(serde_json::from_str::<Config>(r#"{"level": "info"}"#).is_err());
    assert!(serde_json::from_str::<Config>(r#"{"format": "xml"}"#).is_err());
}

#[test]
fn a_wrong_filter_is_found_when_the_configuration_is_read() {
    let load = |filter| {
        let loader = mainstay_core::config::Loader::new().set(format!("log.filter={filter}"));
        loader.tree::<Config>("log").load()
    };
    assert!(load("info,shop=debug").is_ok());
    assert!(load("info,[order{id=1}]=debug,2").is_ok());
    let misspelled = load("inof").unwrap_err().to_string();
    assert!(misspelled.contains("`inof` is no level"), "{misspelled}");
    let errors = load("shop=loud").unwrap_err();
    assert_eq!(errors.findings()[0].key.to_string(), "log.filter");
    assert!(errors.to_string().contains("expected: directives such as `info`"), "{errors}");
}

#[test]
fn a_line_within_a_span_that_is_recorded_has_its_id() {
    #[derive(Clone, Default)]
    struct Ended(Arc<Mutex<Vec<SpanData>>>);
    impl Sink for Ended {
        fn take(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }
    }
    let ended = Ended::default();
    let tracer = Tracer::new(Sampler::share(1.0), ended.clone());
    let trace = TraceContext::root().sampled(true);
    let root = tracer.start(SpanData::new("test".into(), "root", Kind::Server, trace));
    let lines = logged(&Config::default(), None, false, |_| {
        RequestContext::new().with_span(root).sync_scope(|| {
            tracing::info!("around");
            tracing::info_span!("inner").in_scope(|| tracing::info!("within"));
        });
    })
    .lines();
    let spans = ended.0.lock().unwrap().clone();
    assert_eq!((&*spans[0].name, &*spans[1].name), ("inner", "root"));
    assert_eq!(lines[0]["span_id"], spans[1].trace.span_id().to_string());
    assert_eq!(lines[1]["span_id"], spans[0].trace.span_id().to_string());
    assert_eq!(lines[1]["trace_id"], trace.trace_id().to_string());
}

#[test]
fn secrets_are_in_no_line() {
    let log = |_: &Handle| {
        let span =
            tracing::info_span!("login", password = "hunter2", user = "ada", token = tracing::field::Empty);
        span.record("token", "hunter2");
        let _entered = span.enter();
        tracing::info!(http.request.header.authorization = "hunter2", cookie = ?"hunter2", "seen");
    };
    for format in [Format::Json, Format::Text] {
        let text = logged(&Config::default().with_format(format), None, false, log).text();
        assert!(!text.contains("hunter2") && text.matches("[redacted]").count() == 4, "{text}");
        assert!(text.contains("ada"), "{text}");
        let shown =
            logged(&Config::default().with_format(format).with_redact(Redact::none()), None, false, log);
        assert_eq!(shown.text().matches("hunter2").count(), 4);
    }
}

#[test]
fn a_field_of_a_span_that_is_recorded_again_is_there_once() {
    let written = logged(&Config::default(), None, false, |_| {
        let span = tracing::info_span!("work", status = 1, name = "x\"y");
        span.record("status", 2);
        span.in_scope(|| tracing::info!(r#type = 1, ""));
    });
    assert_eq!(written.text().matches("\"status\"").count(), 1, "{}", written.text());
    assert_eq!(written.lines()[0]["spans"][0]["status"], 2);
    assert_eq!(written.lines()[0]["attributes"], json!({"type": 1}));
    assert_eq!(written.lines()[0]["body"], "");
}

#[test]
fn what_logs_while_it_is_formatted_breaks_no_line() {
    struct Chatty;
    impl std::fmt::Display for Chatty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            tracing::info!("within");
            f.write_str("said")
        }
    }
    let lines = logged(&Config::default(), None, false, |_| tracing::info!(what = %Chatty, "around")).lines();
    assert!(lines.iter().any(|line| line["body"] == "around" && line["attributes"]["what"] == "said"));
}

#[test]
fn what_only_the_environment_may_say_stays_where_more_is_asked_for() {
    let written = logged(&Config::default(), Some("other,warn"), false, |handle| {
        handle.set_filter_for("mainstay_telemetry=debug", Duration::MAX).unwrap();
        tracing::trace!(target: "other", "all of it");
        tracing::debug!("and this");
        tracing::info!(target: "third", "not this");
        assert!(matches!(handle.set_filter_for("inof", Duration::MAX), Err(Error::Filter { .. })));
    });
    let bodies: Vec<Value> = written.lines().iter().map(|line| line["body"].clone()).collect();
    assert_eq!(bodies, ["all of it", "and this"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_set_for_some_time_is_set_back_by_itself() {
    let written = Written::default();
    let (subscriber, handle) = subscriber(&Config::default(), None, false, written.clone()).unwrap();
    let _guard = tracing::subscriber::set_default(subscriber);
    let bodies = || written.lines().iter().map(|line| line["body"].clone()).collect::<Vec<_>>();
    let keeping = handle.clone();
    let seconds = |count| tokio::time::sleep(Duration::from_secs(count));
    let steps = async {
        handle.set_filter_for("mainstay_telemetry=debug", Duration::from_secs(60)).unwrap();
        tracing::debug!("fine");
        tracing::info!(target: "other", "as before");
        tracing::debug!(target: "other", "too fine");
        assert!(matches!(handle.set_filter_for("x=loud", Duration::from_secs(9)), Err(Error::Filter { .. })));
        seconds(30).await;
        // Another replaces it, and has its own time; a change of the configuration is heard besides.
        handle.set_filter_for("mainstay_telemetry=trace,other=warn", Duration::from_secs(60)).unwrap();
        handle.set_filter("error").unwrap();
        seconds(59).await;
        tracing::trace!("finer");
        tracing::info!(target: "other", "too fine");
        seconds(2).await;
        assert_eq!(handle.levels(), Levels { filter: "error".to_owned(), temporary: None });
        tracing::info!("too fine");
        tracing::error!("bad");
        handle.set_filter_for("debug", Duration::from_secs(60)).unwrap();
        handle.reset().unwrap();
        tracing::debug!("too fine");
    };
    tokio::select! {
        () = keeping.keep_time() => {}
        () = steps => {}
    }
    assert_eq!(bodies(), ["fine", "as before", "finer", "bad"]);
}

mod panics {
    use axum::{Router, body::Body, routing::get};
    use http_body_util::BodyExt as _;
    use mainstay_core::{
        lifecycle::{Drain, Lifecycle, component},
        middleware::{context::ContextLayer, recover::RecoverLayer},
        panics::log_all,
        server::{Config, Server, Shape, Worker},
        task::Tasks,
    };
    use tower::ServiceExt as _;

    use super::*;
    use crate::test::Capture;

    /// Where it happened, and to whom.
    fn check(line: &Value, said: &str, ids: Option<&Value>) {
        assert_eq!(
            (&line["severity_text"], &line["attributes"]["exception.message"]),
            (&json!("ERROR"), &json!(said))
        );
        let location = line["attributes"]["location"].as_str().unwrap();
        assert!(location.contains("logs/tests.rs:"), "{line}");
        for id in ["trace_id", "span_id", "request_id"] {
            assert_eq!(line.get(id), ids.map(|line| &line[id]), "{id} of {line}");
        }
    }

    #[tokio::test]
    async fn of_a_handler_has_its_place_and_the_ids_of_the_request() {
        let capture = Capture::start();
        let handler = async || {
            tracing::info!("before");
            if tracing::enabled!(tracing::Level::INFO) {
                panic!("in a handler");
            }
        };
        let app = Router::new().route("/", get(handler)).layer(RecoverLayer::default());
        let app = app.layer(ContextLayer::default().with_ambient(capture.ambient("test")));
        let answer = app.oneshot(http::Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 500);
        let _ = answer.into_body().collect().await;
        check(&capture.line("a handler panicked"), "in a handler", Some(&capture.line("before")));
        let span = &capture.spans()[0];
        assert!(span.events.iter().any(|event| event.name == "a handler panicked"), "{span:?}");
        assert!(matches!(span.status, mainstay_core::trace::Status::Error(_)), "{span:?}");
    }

    #[tokio::test]
    async fn of_a_body_has_its_place_and_the_ids_of_the_request() {
        let capture = Capture::start();
        let handler = async || {
            tracing::info!("before");
            let frames = futures_util::stream::iter(0..2);
            let frames = futures_util::StreamExt::map(frames, |number| {
                assert!(number < 1, "in a body");
                Ok::<_, io::Error>("x")
            });
            Body::from_stream(frames)
        };
        let app = Router::new().route("/", get(handler)).layer(RecoverLayer::default());
        let app = app.layer(ContextLayer::default().with_ambient(capture.ambient("test")));
        let answer = app.oneshot(http::Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert!(answer.into_body().collect().await.is_err());
        check(&capture.line("a handler panicked"), "in a body", Some(&capture.line("before")));
    }

    #[tokio::test]
    async fn of_tasks_and_blocking_work_has_its_place_and_the_ids_of_the_request() {
        let (capture, tasks) = (Capture::start(), Tasks::new());
        request()
            .scope(async {
                tracing::info!("before");
                assert!(tasks.spawn(async { panic!("in a task") }).await.is_err());
            })
            .await;
        check(&capture.line("a task panicked"), "in a task", Some(&capture.line("before")));

        let capture = Capture::start();
        let blocking = request().sync_scope(|| {
            tracing::info!("before");
            tasks.spawn_blocking(|| panic!("in blocking work"))
        });
        assert!(blocking.await.is_err());
        check(&capture.line("a task panicked"), "in blocking work", Some(&capture.line("before")));
    }

    #[tokio::test]
    async fn of_the_hook_of_a_component_has_its_place() {
        let capture = Capture::start();
        let failing = component("stock", |context| async move {
            if context.component() == "stock" {
                panic!("in a hook");
            }
            Ok(())
        });
        let run = Lifecycle::new().with(failing).run_with(futures_util::stream::pending());
        assert!(tokio::time::timeout(Duration::from_secs(60), run).await.unwrap().is_err());
        check(&capture.line("a task panicked"), "in a hook", None);
    }

    #[tokio::test]
    async fn of_a_worker_of_the_server_has_its_place() {
        let capture = Capture::start();
        let mut config = Config::default();
        config.address = "127.0.0.1:0".parse().unwrap();
        config.shape = Shape::PerCore;
        config.workers = std::num::NonZeroUsize::new(1);
        let server = Server::bind(&config).unwrap();
        let (_drainer, drain) = Drain::channel();
        let make = |_: Worker| -> Router { panic!("in a worker") };
        let ended = tokio::time::timeout(Duration::from_secs(60), server.serve(make, drain)).await.unwrap();
        assert_eq!(ended.failed_workers, 1);
        check(&capture.line("a worker of the server panicked"), "in a worker", None);
    }

    #[test]
    fn of_a_thread_that_nobody_knows_of_has_its_place_and_the_ids_where_there_are_some() {
        let capture = Capture::start();
        log_all();
        let panics = |dispatch: tracing::Dispatch, context: Option<RequestContext>| {
            let thread = std::thread::Builder::new().name("worker-7".to_owned());
            let work = move || {
                let _default = tracing::dispatcher::set_default(&dispatch);
                match context {
                    Some(context) => context.sync_scope(|| {
                        tracing::info!("before");
                        panic!("within a request")
                    }),
                    None => panic!("outside of any"),
                }
            };
            assert!(thread.spawn(work).unwrap().join().is_err());
        };
        panics(capture.dispatch(), None);
        let line = capture.line("a thread panicked");
        check(&line, "outside of any", None);
        assert_eq!(line["attributes"]["thread.name"], "worker-7");
        panics(capture.dispatch(), Some(request()));
        check(&capture.lines()[2], "within a request", Some(&capture.line("before")));
    }
}
