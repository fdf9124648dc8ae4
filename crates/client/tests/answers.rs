//! Requests that are sent again because of what was answered, where that is configured.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use mainstay_client::{
    Client, Config, Error, RequestBuilder,
    balance::{Policy, ejection::Reason, state::State},
    breaker,
    discovery::fixed::Fixed,
    retry::{Code, Repeat},
};
use mainstay_core::context::RequestContext;
use mainstay_discovery::Endpoint;
use support::{LONG, Server, raw::Raw};

/// Answers each request with the next of `answers`, the last for ever, and tells what came.
struct Scripted {
    server: Server,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Scripted {
    async fn start<A>(answers: Vec<A>) -> Self
    where
        A: Fn() -> Response + Send + Sync + 'static,
    {
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let (count, answers, seen_by_handler) = (AtomicUsize::new(0), answers, seen.clone());
        let state = Arc::new((count, answers));
        let handler = move |headers: HeaderMap, body: String| {
            let (state, seen) = (state.clone(), seen_by_handler.clone());
            async move {
                seen.lock().unwrap().push((body, headers));
                let (count, answers) = &*state;
                let index = count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
                answers[index]()
            }
        };
        let server = Server::start(Router::new().route("/{*rest}", any(handler))).await;
        Self { server, seen }
    }

    fn attempts(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(_, headers)| headers["x-request-attempt"].to_str().unwrap().to_owned()).collect()
    }
}

fn client(endpoints: impl IntoIterator<Item = Endpoint>, change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config::default();
    config.retry.backoff = Duration::from_millis(1).into();
    config.retry.statuses = vec![429, 503];
    config.retry.codes = vec![Code::Unavailable];
    change(&mut config);
    Client::builder().config(config).build(Fixed::new().with("stock", endpoints).unwrap())
}

type Answer = fn() -> Response;

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "one moment").into_response()
}

fn ok() -> Response {
    "done".into_response()
}

#[tokio::test]
async fn a_listed_status_is_asked_for_again_where_that_is_safe() {
    let post = |client: &Client| client.post("http://stock/x").body("body");
    type Make = fn(RequestBuilder) -> RequestBuilder;
    let cases: [(&str, Make, usize); 4] = [
        ("as it is", |request| request, 1),
        ("declared", RequestBuilder::idempotent, 3),
        ("with a key", |request| request.header("idempotency-key", "\"7\""), 3),
        ("with a key, once", |request| request.header("idempotency-key", "\"7\"").no_retry(), 1),
    ];
    for (name, make, attempts) in cases {
        let scripted = Scripted::start::<Answer>(vec![busy, busy, ok]).await;
        let client = client([scripted.server.endpoint()], |_| {});
        let response = make(post(&client)).send().await.unwrap();
        assert_eq!(response.status() == 200, attempts == 3, "{name}");
        assert_eq!(scripted.attempts().len(), attempts, "{name}");
        assert!(scripted.seen.lock().unwrap().iter().all(|(body, _)| body == "body"));
        // The answers that nobody wanted were read: their connection was used again.
        assert_eq!(scripted.server.accepted(), 1, "{name}");
    }
}

#[tokio::test]
async fn attempts_end_and_the_last_answer_is_handed_on_whole() {
    let scripted = Scripted::start::<Answer>(vec![busy]).await;
    let client = client([scripted.server.endpoint()], |_| {});
    let response = client.get("http://stock/x").send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.text().await.unwrap(), "one moment");
    assert_eq!(scripted.attempts(), ["0", "1", "2"]);
}

#[tokio::test]
async fn what_came_as_a_repeat_is_not_repeated_for_its_answer() {
    let scripted = Scripted::start::<Answer>(vec![busy]).await;
    let client = client([scripted.server.endpoint()], |_| {});
    let call = client.get("http://stock/x").send();
    let response = RequestContext::new().with_attempt(1).scope(call).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(scripted.attempts(), ["1"]);
}

#[tokio::test]
async fn who_says_when_to_come_back_is_left_alone_until_then() {
    let busy: Answer = || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "100")]).into_response();
    let one = Scripted::start(vec![busy]).await;
    // Nobody else is there, and the deadline is before that: the answer is handed on.
    let alone = client([one.server.endpoint()], |_| {});
    let response = alone.get("http://stock/x").timeout(Duration::from_secs(20)).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(one.attempts().len(), 1);

    let two = Scripted::start::<Answer>(vec![ok]).await;
    let both = client([one.server.endpoint(), two.server.endpoint()], |_| {});
    for _ in 0..50 {
        assert_eq!(both.get("http://stock/x").send().await.unwrap().status(), 200);
    }
    assert!(one.attempts().len() <= 2, "{}", one.attempts().len());
}

fn grpc(headers: &[(&'static str, &'static str)]) -> Response {
    let mut response = ([("content-type", "application/grpc")], Body::empty()).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

/// The head first, the code in trailers behind it.
fn grpc_later(code: &'static str) -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    let frames = futures_util::stream::iter([Ok::<_, std::io::Error>(Frame::<Bytes>::trailers(trailers))]);
    ([("content-type", "application/grpc")], Body::new(StreamBody::new(frames))).into_response()
}

async fn call_grpc(client: &Client, declared: bool) -> Response {
    let mut request = Request::post("http://stock/pkg.Stock/Take").body(Body::from("\0\0\0\0\0")).unwrap();
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    if declared {
        request.extensions_mut().insert(Repeat::Idempotent);
    }
    tokio::time::timeout(LONG, client.send(request)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_listed_code_of_grpc_is_asked_for_again_in_the_head_and_in_trailers() {
    let unavailable: Answer = || grpc(&[("grpc-status", "14")]);
    let later: Answer = || grpc_later("14");
    let fine: Answer = || grpc_later("0");
    let not_found: Answer = || grpc_later("5");
    let never: Answer = || grpc(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")]);
    let soon: Answer = || grpc(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "3")]);
    let cases: [(&str, Vec<Answer>, bool, usize, &str); 6] = [
        ("trailers only", vec![unavailable, fine], true, 2, "0"),
        ("not declared", vec![unavailable, fine], false, 1, "14"),
        ("trailers behind the head", vec![later, fine], true, 2, "0"),
        ("another code", vec![not_found, fine], true, 1, "5"),
        ("the server says never", vec![never, fine], true, 1, "14"),
        ("the server says when", vec![soon, fine], true, 2, "0"),
    ];
    for (name, answers, declared, attempts, code) in cases {
        let scripted = Scripted::start(answers).await;
        let client = client([scripted.server.endpoint()], |_| {});
        let response = call_grpc(&client, declared).await;
        let (head, body) = response.into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
        let found = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
        assert_eq!(found.unwrap(), code, "{name}");
        assert_eq!(scripted.attempts().len(), attempts, "{name}");
    }
}

#[tokio::test]
async fn the_delay_in_the_details_of_a_grpc_status_is_waited_for() {
    let busy: Answer = || {
        use tonic_types::{ErrorDetails, StatusExt as _};
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(100)));
        tonic::Status::with_error_details(tonic::Code::Unavailable, "busy", details).into_http::<Body>()
    };
    let fine: Answer = || grpc_later("0");
    let one = Scripted::start(vec![busy]).await;
    // Nobody else is there, and the default deadline is before that: the answer is handed on.
    let alone = client([one.server.endpoint()], |_| {});
    assert_eq!(call_grpc(&alone, true).await.headers()["grpc-status"], "14");
    assert_eq!(one.attempts(), ["0"]);

    let two = Scripted::start(vec![fine]).await;
    let both = client([one.server.endpoint(), two.server.endpoint()], |_| {});
    for _ in 0..20 {
        assert!(!call_grpc(&both, true).await.headers().contains_key("grpc-status"));
    }
    assert!(one.attempts().len() <= 2, "{:?}", one.attempts());
}

/// The head first, and behind it an end without a word.
fn grpc_without_status() -> Response {
    let frames =
        futures_util::stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"\0\0\0\0\0")))]);
    ([("content-type", "application/grpc")], Body::new(StreamBody::new(frames))).into_response()
}

/// The head first, a message, and the code in trailers behind it.
fn grpc_message_and(code: &'static str, more: &[(&'static str, &'static str)]) -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    more.iter().for_each(|(name, value)| drop(trailers.insert(*name, value.parse().unwrap())));
    let frames = [Frame::data(Bytes::from_static(b"\0\0\0\0\0")), Frame::trailers(trailers)];
    let frames = futures_util::stream::iter(frames.map(Ok::<_, std::io::Error>));
    ([("content-type", "application/grpc")], Body::new(StreamBody::new(frames))).into_response()
}

fn state(client: &Client, index: usize) -> State {
    client.targets()[0].balance.endpoints[index].state
}

#[tokio::test]
async fn what_trailers_say_ejects_an_endpoint_and_opens_the_breaker() {
    let unavailable: Answer = || grpc_message_and("14", &[]);
    let at_once: Answer = || grpc_later("14");
    let without: Answer = grpc_without_status;
    let not_found: Answer = || grpc_message_and("5", &[]);
    let cases = [
        ("after a message", unavailable, true),
        ("at once", at_once, true),
        ("none", without, true),
        ("a code that is no failure", not_found, false),
    ];
    for (name, answer, is_failure) in cases {
        let (bad, good) = (Scripted::start(vec![answer]).await, Scripted::start(vec![answer]).await);
        let client = client([bad.server.endpoint(), good.server.endpoint()], |config| {
            config.retry.codes = Vec::new();
            config.breaker.enabled = true;
            config.breaker.min_calls = 12;
            config.balance.policy = Policy::RoundRobin;
        });
        for _ in 0..12 {
            let response = call_grpc(&client, false).await;
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
        }
        let ejected = [state(&client, 0), state(&client, 1)]
            .iter()
            .filter(|state| matches!(state, State::Ejected { reason: Reason::Answers, .. }))
            .count();
        assert_eq!(ejected, usize::from(is_failure), "{name}: one of the two");
        let breaker = client.targets()[0].breaker;
        assert_eq!(breaker == Some(breaker::State::Open), is_failure, "{name}: {breaker:?}");
    }
}

#[tokio::test]
async fn only_what_succeeds_by_its_trailers_pays_for_repeats() {
    let cases: [(Answer, u64); 3] = [
        (|| grpc_message_and("0", &[]), 20),
        (|| grpc_message_and("13", &[]), 10),
        (grpc_without_status, 10),
    ];
    for (answer, budget) in cases {
        let one = Scripted::start(vec![answer]).await;
        let client = client([one.server.endpoint()], |_| {});
        for _ in 0..50 {
            call_grpc(&client, false).await.into_body().collect().await.unwrap();
        }
        assert_eq!(client.targets()[0].budget, budget);
    }
}

#[tokio::test]
async fn an_answer_that_is_given_up_before_its_trailers_says_nothing() {
    let unavailable: Answer = || grpc_message_and("14", &[]);
    let one = Scripted::start(vec![unavailable]).await;
    let client = client([one.server.endpoint()], |config| {
        config.retry.codes = Vec::new();
        config.breaker.enabled = true;
        config.breaker.min_calls = 1;
    });
    for _ in 0..3 {
        drop(call_grpc(&client, false).await);
    }
    assert_eq!(client.targets()[0].breaker, Some(breaker::State::Closed));
}

#[tokio::test]
async fn an_endpoint_that_says_in_trailers_when_to_come_back_is_left_alone_until_then() {
    let busy: Answer = || grpc_message_and("8", &[("grpc-retry-pushback-ms", "20000")]);
    let one = Scripted::start(vec![busy]).await;
    let client = client([one.server.endpoint()], |_| {});
    let response = call_grpc(&client, false).await;
    response.into_body().collect().await.unwrap();
    assert!(matches!(state(&client, 0), State::Paused { .. }), "{:?}", state(&client, 0));
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_made_anew_where_that_is_safe() {
    let raw = Raw::listen().await;
    let client = client([raw.endpoint()], |config| {
        config.retry.attempt_timeout = Duration::from_secs(1).into();
        config.retry.max_attempts = 2;
    });
    let peer = tokio::spawn(async move {
        let mut silent = raw.accept().await;
        silent.head().await.unwrap();
        let mut second = raw.accept().await;
        assert!(second.head().await.unwrap().contains("x-request-attempt: 1"));
        second.ok("late").await;
        // It was given up there too.
        assert_eq!(silent.head().await, None);
        assert!(second.head().await.unwrap().starts_with("POST "));
        assert_eq!(second.head().await, None);
    });
    assert_eq!(client.get("http://stock/").send().await.unwrap().text().await.unwrap(), "late");
    let error = client.post("http://stock/").send().await.unwrap_err();
    let Error::Elapsed(elapsed) = &error else { panic!("{error:?}") };
    assert!(elapsed.endpoint.is_some());
    tokio::time::timeout(LONG, peer).await.unwrap().unwrap();
}

#[tokio::test]
async fn no_repeat_begins_that_has_less_time_than_answers_take() {
    let (is_slow, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let answer = {
        let (is_slow, asked) = (is_slow.clone(), asked.clone());
        async move || {
            asked.fetch_add(1, Ordering::Relaxed);
            if is_slow.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_secs(2)).await;
                return ok();
            }
            busy()
        }
    };
    let server = Server::start(Router::new().route("/{*rest}", any(answer))).await;
    let client = client([server.endpoint()], |_| {});
    let calls: Vec<_> = (0..25).map(|_| tokio::spawn(client.get("http://stock/x").send())).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    is_slow.store(false, Ordering::Relaxed);
    for (left, attempts) in [(1, 1), (30, 3)] {
        asked.store(0, Ordering::Relaxed);
        let response = client.get("http://stock/x").timeout(Duration::from_secs(left)).send().await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(asked.load(Ordering::Relaxed), attempts, "{left} s were left");
    }
}
