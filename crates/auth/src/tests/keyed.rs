//! API keys as requests show them.

use axum::{Router, body::Body, routing::get};
use http::{HeaderValue, Request, header};
use jsonwebtoken::Algorithm;
use mainstay_core::{
    context::{Ambient, RequestContext},
    middleware::context::ContextLayer,
};
use serde_json::json;
use tokio::time::advance;
use tower::ServiceExt as _;

use super::*;
use crate::{ApiKey, AuthenticateLayer, Means, api_key};

fn with(keys: api_key::Config) -> Config {
    let mut config = Config::new([AUDIENCE]);
    config.api_keys = keys;
    config
}

async fn status(verifier: &Verifier, fields: &[(&str, &str)]) -> (u16, String) {
    let (status, challenges, body) = answer(verifier, fields).await;
    assert_eq!(challenges.is_empty(), status != 401 && status != 400);
    (status, body)
}

/// Status, challenges, body.
async fn answer(verifier: &Verifier, fields: &[(&str, &str)]) -> (u16, Vec<String>, String) {
    let who = |who: Principal| async move {
        let passed_on = RequestContext::current().unwrap().authorization().is_some();
        format!("{} {} {passed_on}", who.subject().unwrap_or_default(), who.means().name())
    };
    let app = Router::new().route("/", get(who)).layer(AuthenticateLayer::new(verifier.clone()));
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    for (name, value) in fields {
        let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let answer = RequestContext::new().scope(app.oneshot(request)).await.unwrap();
    let status = answer.status().as_u16();
    let challenges = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
    let challenges = challenges.map(|challenge| challenge.to_str().unwrap().to_owned()).collect();
    let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
    (status, challenges, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_key_lets_its_owner_in_and_no_other_text_does() {
    let (billing, other) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
    let mut entry = billing.entry().with_scopes(["orders:read"]);
    entry.roles = vec!["robot".to_owned()];
    let verifier = opened(with(api_key::Config::default().with_key("billing", entry))).await;
    let principal = verifier.api_key(billing.expose().as_bytes()).unwrap();
    assert_eq!((principal.subject(), principal.client()), (Some("billing"), Some("billing")));
    assert_eq!((principal.means(), principal.issuer()), (Means::ApiKey, "urn:mainstay:api-keys"));
    assert!(principal.has_scope("orders:read") && principal.has_role("robot"));

    let good = billing.expose();
    for place in 0..good.len() {
        let mut bytes = good.as_bytes().to_vec();
        bytes[place] ^= 1;
        assert_eq!(verifier.api_key(&bytes).unwrap_err(), Refusal::UnknownApiKey, "{place}");
    }
    let (prefix, secret) = good.split_once('.').unwrap();
    let long = format!("{prefix}.{}", "x".repeat(1 << 20));
    let mixed = format!("{prefix}.{}", other.expose().split_once('.').unwrap().1);
    let with_space = format!("{good} ");
    for bad in ["", ".", prefix, secret, &format!("{prefix}."), &long, &mixed, &with_space, other.expose()] {
        assert_eq!(verifier.api_key(bad.as_bytes()).unwrap_err(), Refusal::UnknownApiKey, "{bad:.100}");
    }
    assert_eq!(verifier.api_key(b"\xff.\xff").unwrap_err(), Refusal::UnknownApiKey);
    assert!(!format!("{billing:?}").contains(secret));
}

#[tokio::test(start_paused = true)]
async fn a_request_shows_a_key_or_a_token_and_not_both() {
    let key = ApiKey::generate().unwrap();
    let signer = Signer::new("k", Algorithm::EdDSA);
    let keys = api_key::Config::default().with_key("billing", key.entry());
    let issuer = Issuer::new(ISSUER).with_jwks(jwks(&[&signer]));
    let verifier = opened(with(keys.clone()).with_issuer("main", issuer)).await;
    let (key, bearer) = (key.expose(), format!("Bearer {}", signer.token()));
    assert_eq!(status(&verifier, &[("x-api-key", key)]).await, (200, "billing api_key false".to_owned()));
    assert_eq!(status(&verifier, &[("authorization", &bearer)]).await, (200, "alice bearer true".to_owned()));
    let basic = [("x-api-key", key), ("authorization", "Basic YTpi")];
    assert_eq!(status(&verifier, &basic).await, (200, "billing api_key false".to_owned()));
    for (expected, fields) in [
        (401, vec![]),
        (401, vec![("x-api-key", "")]),
        (401, vec![("x-api-key", "mk_unknown.x")]),
        (401, vec![("authorization", key)]),
        (400, vec![("x-api-key", key), ("x-api-key", key)]),
        (400, vec![("x-api-key", key), ("authorization", bearer.as_str())]),
        (400, vec![("x-api-key", "mk_unknown.x"), ("authorization", bearer.as_str())]),
    ] {
        assert_eq!(status(&verifier, &fields).await.0, expected, "{fields:?}");
    }
    // Where there are no keys the field says nothing.
    let without = trusting(&[&signer]).await;
    let both = [("x-api-key", key), ("authorization", bearer.as_str())];
    assert_eq!(status(&without, &both).await.0, 200);
    assert_eq!(status(&without, &[("x-api-key", key)]).await.0, 401);

    let mut keys = keys;
    keys.header = "Authorization".to_owned();
    let verifier = opened(with(keys)).await;
    let field = format!("APIKEY  {key}");
    assert_eq!(status(&verifier, &[("authorization", &field)]).await.0, 200);
    assert_eq!(status(&verifier, &[("authorization", &field), ("authorization", &field)]).await.0, 400);
    assert_eq!(status(&verifier, &[("authorization", "ApiKey")]).await.0, 401);
    assert_eq!(status(&verifier, &[("x-api-key", key)]).await.0, 401);
}

/// RFC 9110 section 11.6.1: challenges that apply, each in a field of its own.
#[tokio::test(start_paused = true)]
async fn who_is_refused_is_told_by_what_they_could_be_let_in() {
    let key = ApiKey::generate().unwrap();
    let signer = Signer::new("k", Algorithm::EdDSA);
    let keys = api_key::Config::default().with_key("billing", key.entry());
    let in_authorization = api_key::Config { header: "authorization".to_owned(), ..keys.clone() };
    let issuer = Issuer::new(ISSUER).with_jwks(jwks(&[&signer]));
    let bearer = r#"Bearer realm="orders""#;
    let by_key = r#"ApiKey realm="orders", header="x-api-key""#;
    let (bad_bearer, bad_key) =
        (format!("{bearer}, error=\"invalid_token\""), format!("{by_key}, error=\"invalid_key\""));
    let unclear = |challenge: &str| format!("{challenge}, error=\"invalid_request\"");
    let (unclear_bearer, unclear_key) = (unclear(bearer), unclear(by_key));
    let both = opened(with(keys.clone()).with_issuer("main", issuer)).await;
    let keys_alone = opened(with(keys)).await;
    for (verifier, fields, expected) in [
        (&both, vec![], vec![bearer, by_key]),
        (&both, vec![("authorization", "Basic YTpi")], vec![bearer, by_key]),
        (&both, vec![("x-api-key", "mk_unknown.x")], vec![bearer, &bad_key]),
        (&both, vec![("authorization", "Bearer x")], vec![&bad_bearer, by_key]),
        (
            &both,
            vec![("x-api-key", key.expose()), ("authorization", "Bearer x")],
            vec![&unclear_bearer, &unclear_key],
        ),
        (&keys_alone, vec![], vec![by_key]),
        (&keys_alone, vec![("x-api-key", "mk_unknown.x")], vec![&bad_key]),
        (&keys_alone, vec![("authorization", "Bearer x")], vec![by_key]),
        (&keys_alone, vec![("x-api-key", "a"), ("x-api-key", "b")], vec![&unclear_key]),
        (&opened(with(in_authorization)).await, vec![], vec![r#"ApiKey realm="orders""#]),
        // Nobody can be let in by a header field; a 401 has a challenge all the same.
        (&opened(Config::new([AUDIENCE])).await, vec![], vec![bearer]),
    ] {
        assert_eq!(answer(verifier, &fields).await.1, expected, "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_lacks_a_scope_is_no_reason_for_a_token_where_none_is_taken() {
    let key = ApiKey::generate().unwrap();
    let verifier = opened(with(api_key::Config::default().with_key("billing", key.entry()))).await;
    let app = Router::new()
        .route("/", get(async || "in").layer(crate::Require::scope("a")))
        .layer(AuthenticateLayer::new(verifier.clone()))
        .layer(ContextLayer::default().with_ambient(Ambient::default().with(verifier)));
    let request = Request::get("/").header("x-api-key", key.expose()).body(Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();
    let expected = r#"ApiKey realm="orders", header="x-api-key", error="insufficient_scope", scope="a""#;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()[header::WWW_AUTHENTICATE]),
        (403, &HeaderValue::from_static(expected))
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_ends_when_it_was_said() {
    let key = ApiKey::generate().unwrap();
    // NOW is 2027-01-15T08:00:00Z.
    let entry = key.entry().with_expiry("2027-01-15T08:00:10Z");
    let verifier = opened(with(api_key::Config::default().with_key("billing", entry))).await;
    advance(Duration::from_secs(9)).await;
    assert!(verifier.api_key(key.expose().as_bytes()).is_ok());
    advance(Duration::from_secs(1)).await;
    assert_eq!(verifier.api_key(key.expose().as_bytes()).unwrap_err(), Refusal::ExpiredApiKey);
}

#[tokio::test]
async fn keys_of_a_file_come_and_go_with_it_and_a_bad_file_changes_nothing() {
    let (one, two) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let write = |text: String| {
        let new = directory.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &path).unwrap();
    };
    write(json!({ "one": one.entry() }).to_string());
    let keys = api_key::Config { file: Some(path.clone()), ..api_key::Config::default() };
    let verifier = opened(with(keys.clone())).await;
    let knows = |key: &ApiKey| verifier.api_key(key.expose().as_bytes()).is_ok();
    assert!(knows(&one) && !knows(&two));
    write(json!({ "two": two.entry() }).to_string());
    let until = Instant::now() + Duration::from_secs(60);
    while !knows(&two) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!knows(&one) && knows(&two));
    for bad in ["{", "[]", r#"{"three":{"prefix":"mk_x"}}"#, r#"{"three":{"unheard":1}}"#] {
        write(bad.to_owned());
        // Read twice, and found bad.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(knows(&two), "{bad}");
        let refused = Verifier::open(&with(keys.clone()), &Tasks::new()).await.unwrap_err();
        assert_eq!(refused.key, "api_keys.file", "{bad}");
    }
}

#[test]
fn every_wrong_value_of_a_key_is_named() {
    let key = ApiKey::generate().unwrap();
    let wrong = |config: &api_key::Config| {
        with(config.clone()).wrong().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let of = |change: &dyn Fn(&mut api_key::Entry)| {
        let mut entry = key.entry();
        change(&mut entry);
        wrong(&api_key::Config::default().with_key("billing", entry))
    };
    assert_eq!(of(&|_| {}), Vec::<String>::new());
    assert_eq!(of(&|entry| entry.prefix.clear()), ["api_keys.keys.billing.prefix"]);
    assert_eq!(of(&|entry| entry.prefix.push('.')), ["api_keys.keys.billing.prefix"]);
    assert_eq!(of(&|entry| entry.sha256.truncate(63)), ["api_keys.keys.billing.sha256"]);
    assert_eq!(of(&|entry| entry.sha256.replace_range(0..1, "+")), ["api_keys.keys.billing.sha256"]);
    assert_eq!(of(&|entry| entry.expires = Some("soon".to_owned())), ["api_keys.keys.billing.expires"]);
    let twice = api_key::Config::default().with_key("a", key.entry()).with_key("b", key.entry());
    assert_eq!(wrong(&twice), ["api_keys.keys.b.prefix"]);
    for header in ["", "a b", "host", "Cookie"] {
        let config = api_key::Config { header: header.to_owned(), ..api_key::Config::default() };
        assert_eq!(wrong(&config), ["api_keys.header"], "{header}");
    }
}
