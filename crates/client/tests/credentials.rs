//! What calls show for themselves, over HTTP, over gRPC and in process.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, Request, StatusCode},
    routing::any,
};
use mainstay_client::{Client, Error, discovery::fixed::Fixed};
use mainstay_core::{
    context::{Deadline, PassedOn},
    credentials::{Credential, Credentials},
    error::{Kind, mapping::Classified},
};
use mainstay_discovery::Endpoint;
use support::Server;

/// Gives what the test says, one after the other; the last for ever.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    tokens: VecDeque<&'static str>,
    asked: Vec<String>,
    refused: Vec<HeaderValue>,
    delay: Option<Duration>,
    fails: bool,
}

impl Scripted {
    fn new(tokens: &[&'static str]) -> Self {
        let scripted = Self::default();
        scripted.0.lock().unwrap().tokens = tokens.iter().copied().collect();
        scripted
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    fn refused(&self) -> usize {
        self.0.lock().unwrap().refused.len()
    }
}

impl Credentials for Scripted {
    fn credential(&self, service: &str, _: Deadline) -> Credential {
        let mut state = self.0.lock().unwrap();
        state.asked.push(service.to_owned());
        if state.fails {
            let error = Classified::new(Kind::Unavailable, "the issuer is away");
            return Credential::Awaited(Box::pin(async { Err(error.into()) }));
        }
        let Some(token) = state.tokens.front().map(|token| HeaderValue::from_static(token)) else {
            return Credential::None;
        };
        match state.delay {
            None => Credential::Ready(token),
            Some(delay) => Credential::Awaited(Box::pin(async move {
                tokio::time::sleep(delay).await;
                Ok(Some(token))
            })),
        }
    }

    fn refused(&self, _: &str, credential: &HeaderValue) -> bool {
        let mut state = self.0.lock().unwrap();
        state.refused.push(credential.clone());
        if state.tokens.len() > 1 {
            state.tokens.pop_front();
            return true;
        }
        false
    }
}

/// Echoes what was shown; `Bearer old` is not valid.
fn router() -> Router {
    let answer = |headers: HeaderMap| async move {
        let shown: Vec<_> =
            headers.get_all("authorization").iter().map(|value| value.to_str().unwrap()).collect();
        let challenge = r#"Bearer realm="stock", error="invalid_token""#;
        match shown.as_slice() {
            ["Bearer old"] => (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)], String::new()),
            shown => {
                (StatusCode::OK, [("x-attempt", "")], format!("{shown:?} {:?}", headers["x-request-attempt"]))
            }
        }
    };
    Router::new().fallback(any(answer))
}

async fn text(client: &Client, request: Request<Body>) -> (StatusCode, String) {
    let response = client.send(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn get() -> Request<Body> {
    Request::get("http://stock/items").body(Body::empty()).unwrap()
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("http://stock/items").body(body.into()).unwrap()
}

/// Over the wire, and in process.
async fn both(check: impl AsyncFn(Client)) {
    let server = Server::start(router()).await;
    check(support::client_of([server.endpoint()])).await;
    let client = Client::new(Fixed::new().with("stock", [Endpoint::in_process()]).unwrap());
    client.locals().insert(&"stock".parse().unwrap(), router());
    check(client).await;
}

#[tokio::test]
async fn a_call_shows_what_the_source_has_for_the_service() {
    both(async |client| {
        let source = Scripted::new(&["Bearer new"]);
        let shown = client.clone().with_credentials(source.clone());
        assert_eq!(text(&shown, get()).await.1, r#"["Bearer new"] "0""#);
        assert_eq!(text(&shown, post("x")).await.1, r#"["Bearer new"] "0""#);
        assert_eq!(source.0.lock().unwrap().asked, ["stock", "stock"]);
        assert_eq!(text(&client, get()).await.1, r#"[] "0""#, "the client it was made of shows nothing");
        assert_eq!(text(&client.with_credentials(Scripted::default()), get()).await.1, r#"[] "0""#);
    })
    .await;
}

#[tokio::test]
async fn what_stands_there_already_is_left_alone() {
    both(async |client| {
        let source = Scripted::new(&["Bearer new", "Bearer newer"]);
        let client = client.with_credentials(source.clone());
        let mut request = get();
        request.headers_mut().insert("authorization", HeaderValue::from_static("Basic mine"));
        assert_eq!(text(&client, request).await.1, r#"["Basic mine"] "0""#);
        let mut request = get();
        request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer old"));
        assert_eq!(text(&client, request).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!((source.asked(), source.refused()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn for_a_request_of_somebody_else_nothing_of_ours_is_shown() {
    both(async |client| {
        let source = Scripted::new(&["Bearer ours"]);
        let client = client.with_credentials(source.clone());
        let mut request = get();
        request.extensions_mut().insert(PassedOn::new());
        assert_eq!(text(&client, request).await.1, r#"[] "0""#);
        assert_eq!(source.asked(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once_where_a_repeat_is_safe() {
    both(async |client| {
        let source = Scripted::new(&["Bearer old", "Bearer new"]);
        let client = client.with_credentials(source.clone());
        assert_eq!(text(&client, get()).await, (StatusCode::OK, r#"["Bearer new"] "1""#.to_owned()));
        assert_eq!(source.refused(), 1);
    })
    .await;
    both(async |client| {
        let source = Scripted::new(&["Bearer old", "Bearer old", "Bearer new"]);
        let client = client.with_credentials(source.clone());
        assert_eq!(text(&client, get()).await.0, StatusCode::UNAUTHORIZED, "once");
        assert_eq!(source.refused(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_may_not_be_repeated_is_not_but_the_token_goes() {
    both(async |client| {
        let stream = Body::from_stream(futures_util::stream::once(async {
            tokio::task::yield_now().await;
            Ok::<_, std::io::Error>("x")
        }));
        let mut streamed = post(stream);
        *streamed.method_mut() = axum::http::Method::PUT;
        for request in [post("x"), streamed] {
            let source = Scripted::new(&["Bearer old", "Bearer new"]);
            let client = client.clone().with_credentials(source.clone());
            assert_eq!(text(&client, request).await.0, StatusCode::UNAUTHORIZED);
            assert_eq!(source.refused(), 1);
            assert_eq!(text(&client, post("x")).await.0, StatusCode::OK, "the next call");
        }
        let source = Scripted::new(&["Bearer old"]);
        let client = client.with_credentials(source.clone());
        assert_eq!(text(&client, get()).await.0, StatusCode::UNAUTHORIZED, "there is no other");
        assert_eq!(source.asked(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_here_goes_along_with_the_repeat() {
    let echo = Router::new().fallback(any(|headers: HeaderMap, body: String| async move {
        let challenge = [("www-authenticate", "Bearer error=invalid_token")];
        match headers["authorization"] == "Bearer old" {
            true => (StatusCode::UNAUTHORIZED, challenge, String::new()),
            false => (StatusCode::OK, challenge, body),
        }
    }));
    let server = Server::start(echo).await;
    let source = Scripted::new(&["Bearer old", "Bearer new"]);
    let client = support::client_of([server.endpoint()]).with_credentials(source);
    let answer = client.put("http://stock/items").body("content").send().await.unwrap();
    assert_eq!((answer.status(), answer.text().await.unwrap().as_str()), (StatusCode::OK, "content"));
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_waited_for_no_longer_than_the_deadline() {
    let client = Client::new(Fixed::new().with("stock", [Endpoint::in_process()]).unwrap());
    client.locals().insert(&"stock".parse().unwrap(), router());
    let source = Scripted::new(&["Bearer new"]);
    source.0.lock().unwrap().delay = Some(Duration::from_secs(3));
    let client = client.with_credentials(source.clone());
    let failed = client.get("http://stock/").timeout(Duration::from_secs(2)).send().await.unwrap_err();
    assert!(matches!(&failed, Error::Elapsed(_)), "{failed:?}");
    let answer = client.get("http://stock/").timeout(Duration::from_secs(4)).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), r#"["Bearer new"] "0""#);

    source.0.lock().unwrap().fails = true;
    let failed = client.get("http://stock/").send().await.unwrap_err();
    assert_eq!(failed.to_string(), "no credentials for service `stock`");
    assert_eq!(mainstay_core::Error::from(failed).kind(), Kind::Unavailable);
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn a_channel_shows_it_and_a_token_that_is_refused_is_replaced() {
    use tonic::{Code, service::Routes};
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("stock", tonic_health::ServingStatus::Serving).await;
    let guard = axum::middleware::from_fn(async |request: Request<Body>, next: axum::middleware::Next| {
        if request.headers().get("authorization").is_some_and(|shown| shown == "Bearer new") {
            return next.run(request).await;
        }
        let mut answer = tonic::Status::unauthenticated("who?").into_http::<Body>();
        let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
        answer.headers_mut().insert("www-authenticate", challenge);
        answer
    });
    let router = Routes::new(service).into_axum_router().layer(guard);
    let server = Server::start(router).await;
    let client = support::client_of([server.endpoint()]);
    let ask = || HealthCheckRequest { service: "stock".to_owned() };
    let refused = HealthClient::new(client.channel("stock")).check(ask()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let source = Scripted::new(&["Bearer old", "Bearer new"]);
    let client = client.with_credentials(source.clone());
    let mut health = HealthClient::new(client.channel("stock"));
    assert_eq!(
        health.check(ask()).await.unwrap_err().code(),
        Code::Unauthenticated,
        "not known to be idempotent"
    );
    assert_eq!(health.check(ask()).await.unwrap().into_inner().status, 1);

    let source = Scripted::new(&["Bearer old", "Bearer new"]);
    let mut health = HealthClient::new(client.with_credentials(source.clone()).channel("stock"));
    let mut request = tonic::Request::new(ask());
    request.extensions_mut().insert(mainstay_client::retry::Repeat::Idempotent);
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
    assert_eq!((source.asked(), source.refused()), (2, 1));
}
