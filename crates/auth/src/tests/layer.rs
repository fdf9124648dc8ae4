//! The layer as requests meet it.

use std::convert::Infallible;

use axum::{Extension, Router, body::Body, routing::get};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_layer::Layer as _;

use super::*;
use crate::{AuthenticateLayer, Claims};

fn signer() -> Signer {
    Signer::new("k", Algorithm::EdDSA)
}

#[derive(serde::Deserialize)]
struct Own {
    tenant: String,
}

fn app(layer: AuthenticateLayer) -> Router {
    Router::new()
        .route("/me", get(|who: Principal| async move { who.subject().unwrap_or_default().to_owned() }))
        .route(
            "/extension",
            get(|Extension(who): Extension<Principal>| async move { who.issuer().to_owned() }),
        )
        .route("/tenant", get(|Claims(own): Claims<Own>| async move { own.tenant }))
        .route(
            "/maybe",
            get(|who: Option<Principal>| async move { if who.is_some() { "somebody" } else { "nobody" } }),
        )
        .layer(layer)
}

struct Answer {
    status: StatusCode,
    challenge: Option<String>,
    body: String,
}

async fn ask(app: &Router, uri: &str, fields: &[&str]) -> Answer {
    let mut request = Request::get(uri).body(Body::empty()).unwrap();
    for field in fields {
        request.headers_mut().append(header::AUTHORIZATION, field.parse().unwrap());
    }
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
    let challenges: Vec<_> = head.headers.get_all(header::WWW_AUTHENTICATE).iter().collect();
    assert!(challenges.len() <= 1);
    let challenge = challenges.first().map(|value| value.to_str().unwrap().to_owned());
    Answer { status: head.status, challenge, body }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn who_has_a_token_gets_in_and_the_handler_knows_who_it_is() {
    let signer = signer();
    let app = app(AuthenticateLayer::new(trusting(&[&signer]).await));
    let token = bearer(&signer.token_with(|_, claims| claims["tenant"] = json!("north")));
    for (uri, expected) in [
        ("/me", "alice"),
        ("/me", "alice"),
        ("/extension", ISSUER),
        ("/tenant", "north"),
        ("/maybe", "somebody"),
    ] {
        let answer = ask(&app, uri, &[&token]).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, expected));
        assert_eq!(answer.challenge, None);
    }
}

#[tokio::test]
async fn without_credentials_the_challenge_has_no_error() {
    let app = app(AuthenticateLayer::new(trusting(&[&signer()]).await));
    for fields in [&[][..], &["Basic YTpi"]] {
        let answer = ask(&app, "/me", fields).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.challenge.unwrap(), r#"Bearer realm="orders""#);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["status"], 401);
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_the_answer_is_the_same() {
    let (signer, other) = (signer(), signer());
    let app = app(AuthenticateLayer::new(trusting(&[&signer]).await));
    let with = |name: &'static str, value: Value| signer.token_with(|_, claims| claims[name] = value);
    let mut answers = std::collections::BTreeSet::new();
    for token in [
        String::new(),
        "x".to_owned(),
        "x".repeat(100_000),
        other.token(),
        with("exp", json!(1)),
        with("aud", json!("other")),
        with("iss", json!("https://evil.example")),
        with("cnf", json!({})),
        signer.token_with(|header, _| header["alg"] = json!("none")),
        signer.token_with(|header, _| header["kid"] = json!("unknown")),
        format!("{}, Bearer {}", signer.token(), signer.token()),
    ] {
        let answer = ask(&app, "/me", &[&bearer(&token)]).await;
        let mut problem: Value = serde_json::from_str(&answer.body).unwrap();
        problem.as_object_mut().unwrap().retain(|name, _| name != "trace_id" && name != "instance");
        answers.insert((answer.status.as_u16(), answer.challenge, problem.to_string()));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let (status, challenge, problem) = answers.pop_first().unwrap();
    assert_eq!(
        (status, challenge.unwrap().as_str()),
        (401, r#"Bearer realm="orders", error="invalid_token""#)
    );
    assert!(!problem.contains("token") && !problem.contains("key"), "{problem}");
}

#[tokio::test]
async fn several_authorization_fields_and_tokens_in_query_strings_are_invalid_requests() {
    let signer = signer();
    let token = signer.token();
    for layer in [
        AuthenticateLayer::new(trusting(&[&signer]).await),
        AuthenticateLayer::new(trusting(&[&signer]).await).optional(),
    ] {
        let app = app(layer);
        let field = bearer(&token);
        let in_query = format!("/maybe?access_token={token}");
        for (uri, fields) in
            [("/maybe", &[field.as_str(), field.as_str()][..]), (&in_query, &[]), (&in_query, &[&field])]
        {
            let answer = ask(&app, uri, fields).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri}");
            assert_eq!(answer.challenge.unwrap(), r#"Bearer realm="orders", error="invalid_request""#);
            assert!(!answer.body.contains(&token), "the token is not repeated");
        }
    }
}

#[tokio::test]
async fn optional_lets_in_who_has_no_token_but_not_who_has_a_bad_one() {
    let signer = signer();
    let app = app(AuthenticateLayer::new(trusting(&[&signer]).await).optional());
    assert_eq!(ask(&app, "/maybe", &[]).await.body, "nobody");
    assert_eq!(ask(&app, "/maybe", &[&bearer(&signer.token())]).await.body, "somebody");
    assert_eq!(ask(&app, "/maybe", &["Bearer x"]).await.status, StatusCode::UNAUTHORIZED);
    let answer = ask(&app, "/me", &[]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.challenge.unwrap(), r#"Bearer realm="orders""#);
}

#[tokio::test]
async fn claims_of_another_type_are_forbidden_and_a_missing_layer_is_a_fault() {
    let signer = signer();
    let verifier = trusting(&[&signer]).await;
    let answer = ask(&app(AuthenticateLayer::new(verifier)), "/tenant", &[&bearer(&signer.token())]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let bare: Router = Router::new().route("/me", get(|_: Principal| async {}));
    assert_eq!(
        ask(&bare, "/me", &[&bearer(&signer.token())]).await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[tokio::test]
async fn nobody_brings_a_principal_along() {
    let layer = AuthenticateLayer::new(trusting(&[&signer()]).await).optional();
    let mut request = Request::get("/maybe").body(Body::empty()).unwrap();
    request.extensions_mut().insert(Principal::for_test("root", 1e12));
    let answer = app(layer).oneshot(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "nobody");
}

#[tokio::test]
async fn grpc_gets_a_status_and_the_same_challenge() {
    let signer = signer();
    let app = app(AuthenticateLayer::new(trusting(&[&signer]).await));
    for (fields, uri, error) in [
        (&[][..], "/x.Y/Z", ""),
        (&["Bearer x"], "/x.Y/Z", r#", error="invalid_token""#),
        (&["Bearer x", "Bearer x"], "/x.Y/Z", r#", error="invalid_request""#),
    ] {
        let mut request = Request::post(uri).body(Body::empty()).unwrap();
        request.headers_mut().insert(header::CONTENT_TYPE, "application/grpc".parse().unwrap());
        for field in fields {
            request.headers_mut().append(header::AUTHORIZATION, field.parse().unwrap());
        }
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["grpc-status"]),
            (StatusCode::OK, &"16".parse().unwrap())
        );
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], format!(r#"Bearer realm="orders"{error}"#));
    }
}

#[tokio::test(start_paused = true)]
#[cfg(feature = "tls")]
async fn where_keys_are_not_known_nobody_is_told_that_the_token_is_bad() {
    let script = super::issuer::Script::of(&[]);
    let config = config(Issuer::new(ISSUER));
    let verifier =
        Verifier::open_with(&config, &Tasks::new(), clock(), |_| Ok(script.clone())).await.unwrap();
    let answer = ask(&app(AuthenticateLayer::new(verifier)), "/me", &[&bearer(&signer().token())]).await;
    assert_eq!((answer.status, answer.challenge), (StatusCode::SERVICE_UNAVAILABLE, None));
}

/// A service that panics when it is called without having been readied; a clone is not ready.
#[derive(Debug, Default)]
struct Readied(bool);

impl Clone for Readied {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl tower_service::Service<Request<Body>> for Readied {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        self.0 = true;
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.0), "called without having been readied");
        std::future::ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn only_what_was_readied_is_called() {
    let signer = signer();
    let layer = AuthenticateLayer::new(trusting(&[&signer]).await);
    let mut service = layer.layer(Readied::default());
    for token in [signer.token(), signer.token(), "x".to_owned(), signer.token()] {
        let request = Request::get("/").header(header::AUTHORIZATION, bearer(&token));
        let response = service.ready().await.unwrap();
        tower_service::Service::call(response, request.body(Body::empty()).unwrap()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
#[cfg(feature = "tls")]
async fn a_request_that_is_dropped_while_it_waits_for_keys_never_reaches_the_handler() {
    let (signer, called) = (signer(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let script = super::issuer::Script::of(&[&signer]);
    script.takes(Duration::from_millis(800));
    let config = config(Issuer::new(ISSUER));
    let verifier =
        Verifier::open_with(&config, &Tasks::new(), clock(), |_| Ok(script.clone())).await.unwrap();
    let handler = {
        let called = called.clone();
        tower::service_fn(move |_: Request<Body>| {
            called.store(true, std::sync::atomic::Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::<Body>::default()))
        })
    };
    let service = AuthenticateLayer::new(verifier).layer(handler);
    let request = || {
        let request = Request::get("/").header(header::AUTHORIZATION, bearer(&signer.token()));
        service.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    assert!(tokio::time::timeout(Duration::from_millis(100), request()).await.is_err());
    assert!(!called.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(request().await.unwrap().status(), StatusCode::OK);
    assert_eq!(script.fetched(super::issuer::KEYS).len(), 1, "the fetch went on");
}

#[tokio::test]
async fn what_makes_calls_for_a_request_finds_its_token_once_that_was_found_good() {
    use mainstay_core::context::RequestContext;

    let signer = signer();
    let layer = AuthenticateLayer::new(trusting(&[&signer]).await).optional();
    let app = Router::new()
        .route(
            "/",
            get(|| async {
                let context = RequestContext::current().unwrap();
                context.authorization().map_or("none".to_owned(), |found| found.to_str().unwrap().to_owned())
            }),
        )
        .layer(layer);
    let token = bearer(&signer.token());
    for _sight in 0..2 {
        let answer = RequestContext::new().scope(ask(&app, "/", &[&token])).await;
        assert_eq!(answer.body, token);
    }
    let anonymous = RequestContext::new();
    assert_eq!(anonymous.clone().scope(ask(&app, "/", &[])).await.body, "none");
    let refused = RequestContext::new();
    assert_eq!(refused.clone().scope(ask(&app, "/", &["Bearer a.b.c"])).await.status, 401);
    assert_eq!(refused.authorization(), None);
}
