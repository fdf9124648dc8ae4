//! Tokens that their issuer is asked about.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use http::{HeaderValue, StatusCode};
use jsonwebtoken::Algorithm;
use mainstay_core::context::{Deadline, RequestContext};
use serde_json::{Value, json};
use tokio::time::{advance, sleep};

use super::*;
use crate::{
    AuthenticateLayer, Means, Relaxation,
    fetch::{Document, Failure, Fetch, Post, Reply, Url},
    introspection,
};

const HERE: &str = "http://127.0.0.1:1";

/// An issuer that says of tokens what it is told.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    tokens: HashMap<String, Value>,
    says: Option<(u16, String)>,
    asked: Vec<(String, String, Option<HeaderValue>)>,
    delay: Duration,
    is_down: bool,
    under_way: usize,
    most_under_way: usize,
}

impl Script {
    fn has(&self, token: &str, change: &Value) {
        let mut answer = json!({
            "active": true, "iss": HERE, "aud": AUDIENCE, "sub": "alice", "client_id": "web",
            "scope": "orders:read", "exp": NOW + 600, "token_type": "Bearer", "roles": ["clerk"], "jti": token,
        });
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(answer.as_object_mut().unwrap().remove(name)),
                value => answer[name] = value.clone(),
            }
        }
        self.0.lock().unwrap().tokens.insert(token.to_owned(), answer);
    }

    fn loses(&self, token: &str) {
        self.0.lock().unwrap().tokens.remove(token);
    }

    fn says(&self, status: u16, body: &str) {
        self.0.lock().unwrap().says = Some((status, body.to_owned()));
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }
}

impl Fetch for Script {
    async fn get(&self, _: &Url) -> Result<Document, Failure> {
        let document = json!({ "issuer": HERE, "introspection_endpoint": format!("{HERE}/introspect") });
        Ok(Document { body: document.to_string().into(), max_age: None })
    }
}

impl Post for Script {
    async fn post(
        &self,
        url: &Url,
        authorization: Option<&HeaderValue>,
        form: String,
    ) -> Result<Reply, Failure> {
        let form: HashMap<String, String> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        assert_eq!(form["token_type_hint"], "access_token");
        let delay = {
            let mut state = self.0.lock().unwrap();
            state.asked.push((url.to_string(), form["token"].clone(), authorization.cloned()));
            state.under_way += 1;
            state.most_under_way = state.most_under_way.max(state.under_way);
            state.delay
        };
        sleep(delay).await;
        let mut state = self.0.lock().unwrap();
        state.under_way -= 1;
        if state.is_down {
            return Err(Failure(format!("{url}: down")));
        }
        let (status, body) = state.says.clone().unwrap_or_else(|| {
            let answer = state.tokens.get(&form["token"]).cloned();
            (200, answer.unwrap_or(json!({ "active": false })).to_string())
        });
        Ok(Reply { status: StatusCode::from_u16(status).unwrap(), body: body.into() })
    }
}

fn asking() -> introspection::Config {
    introspection::Config::new("orders", "s3cret")
}

fn issuer(introspection: introspection::Config) -> Issuer {
    Issuer::new(HERE).with_introspection(introspection)
}

async fn verifier(script: &Script, issuer: Issuer) -> Verifier {
    Verifier::open_with(&config(issuer), &Tasks::new(), clock(), |_| Ok(script.clone())).await.unwrap()
}

async fn opened() -> (Script, Verifier) {
    let script = Script::default();
    let verifier = verifier(&script, issuer(asking())).await;
    (script, verifier)
}

#[tokio::test(start_paused = true)]
async fn an_issuer_is_asked_once_and_says_who_it_is() {
    let (script, verifier) = opened().await;
    script.0.lock().unwrap().delay = Duration::from_secs(1);
    script.has("good", &json!({}));
    let (one, two) = tokio::join!(verifier.verify("good"), verifier.verify("good"));
    let principal = one.unwrap();
    assert_eq!(two.unwrap().subject(), Some("alice"));
    assert_eq!((principal.subject(), principal.client()), (Some("alice"), Some("web")));
    assert_eq!((principal.issuer(), principal.means()), (HERE, Means::Introspection));
    assert!(principal.has_scope("orders:read") && principal.has_role("clerk"));
    assert!(verifier.known("good").is_some());
    let asked = script.0.lock().unwrap().asked.clone();
    let [(url, token, authorization)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((url.as_str(), token.as_str()), ("http://127.0.0.1:1/introspect", "good"));
    assert_eq!(authorization.as_ref().unwrap(), "Basic b3JkZXJzOnMzY3JldA==");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_believed_for_a_while_and_never_beyond_the_end_of_the_token() {
    let (script, verifier) = opened().await;
    script.has("long", &json!({}));
    script.has("endless", &json!({ "exp": null, "iss": null }));
    script.has("short", &json!({ "exp": NOW + 20 }));
    for token in ["long", "endless", "short"] {
        verifier.verify(token).await.unwrap();
    }
    advance(Duration::from_secs(19)).await;
    assert!(verifier.known("short").is_some());
    advance(Duration::from_secs(2)).await;
    assert!(verifier.known("short").is_none());
    advance(Duration::from_secs(38)).await;
    assert!(verifier.known("long").is_some() && verifier.known("endless").is_some());
    advance(Duration::from_secs(2)).await;
    assert!(verifier.known("long").is_none() && verifier.known("endless").is_none());
    script.loses("long");
    assert_eq!(verifier.verify("long").await.unwrap_err(), Refusal::Inactive, "revoked meanwhile");
    assert_eq!(verifier.verify("short").await.unwrap_err(), Refusal::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_revoked_and_is_forgotten_is_asked_about_anew() {
    let (script, verifier) = opened().await;
    script.has("good", &json!({}));
    verifier.verify("good").await.unwrap();
    script.loses("good");
    verifier.verify("good").await.unwrap();
    verifier.forget_id(HERE, "good");
    assert_eq!(verifier.verify("good").await.unwrap_err(), Refusal::Inactive);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_good_is_refused_each_for_its_reason_and_remembered_briefly() {
    let (script, verifier) = opened().await;
    for (change, expected) in [
        (json!({ "active": false }), Refusal::Inactive),
        (json!({ "iss": "https://other.example" }), Refusal::UnknownIssuer),
        (json!({ "iss": [HERE] }), Refusal::IssuerType),
        (json!({ "aud": "billing" }), Refusal::WrongAudience),
        (json!({ "aud": null }), Refusal::MissingAudience),
        (json!({ "aud": 7 }), Refusal::ClaimType),
        (json!({ "sub": null }), Refusal::MissingSubject),
        (json!({ "exp": NOW - 31 }), Refusal::Expired),
        (json!({ "exp": "tomorrow" }), Refusal::ClaimType),
        (json!({ "nbf": NOW + 600 }), Refusal::NotYetValid),
        (json!({ "iat": NOW + 600 }), Refusal::IssuedInFuture),
        (json!({ "cnf": { "jkt": "x" } }), Refusal::SenderConstrained),
        (json!({ "token_type": "DPoP" }), Refusal::SenderConstrained),
        (json!({ "token_type": "refresh_token" }), Refusal::WrongType),
        (json!({ "token_type": ["Bearer"] }), Refusal::WrongType),
        (json!({ "token_use": "refresh_token" }), Refusal::WrongType),
    ] {
        script.has("bad", &change);
        let before = script.asked();
        for _ in 0..3 {
            assert_eq!(verifier.verify("bad").await.unwrap_err(), expected, "{change}");
        }
        assert_eq!(script.asked(), before + 1, "{change}");
        advance(Duration::from_secs(6)).await;
    }
    script.has("bad", &json!({}));
    assert!(verifier.verify("bad").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn rules_may_be_relaxed_for_an_issuer() {
    let script = Script::default();
    let mut asking = asking();
    asking.audience_optional = true;
    let relaxed = issuer(asking).relaxed([Relaxation::Sub, Relaxation::Cnf]);
    let verifier = verifier(&script, relaxed).await;
    script.has("bound", &json!({ "cnf": {}, "token_type": "DPoP", "sub": null, "aud": null }));
    assert!(verifier.verify("bound").await.unwrap().is_bound());
    script.has("other", &json!({ "aud": "billing" }));
    assert_eq!(
        verifier.verify("other").await.unwrap_err(),
        Refusal::WrongAudience,
        "it is for somebody else"
    );
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_answer_is_nobodys_mistake() {
    let (script, verifier) = opened().await;
    script.has("known", &json!({}));
    verifier.verify("known").await.unwrap();
    for (number, (status, body)) in [
        (200, ""),
        (200, "[]"),
        (200, "{}"),
        (200, r#"{"active":"true"}"#),
        (200, r#"{"active":false,"active":true,"sub":"root"}"#),
        (401, r#"{"error":"invalid_client"}"#),
        (500, ""),
        (503, ""),
        (302, ""),
    ]
    .into_iter()
    .enumerate()
    {
        script.says(status, body);
        let token = format!("token{number}");
        assert_eq!(verifier.verify(&token).await.unwrap_err(), Refusal::IssuerUnavailable, "{status} {body}");
        advance(Duration::from_secs(1)).await;
    }
    assert!(Refusal::IssuerUnavailable.is_unavailable());
    script.0.lock().unwrap().is_down = true;
    let before = script.asked();
    for number in 0..1000 {
        let refused = verifier.verify(&format!("other{number}")).await.unwrap_err();
        assert_eq!(refused, Refusal::IssuerUnavailable);
        sleep(Duration::from_millis(10)).await;
    }
    assert!(verifier.known("known").is_some(), "what is known is known");
    let tries = script.asked() - before;
    assert!((2..=8).contains(&tries), "asked more and more seldom: {tries}");
}

#[tokio::test(start_paused = true)]
async fn one_token_that_upsets_the_issuer_keeps_nobody_else_out() {
    let (script, verifier) = opened().await;
    script.says(500, "");
    for _ in 0..10 {
        assert_eq!(verifier.verify("upsetting").await.unwrap_err(), Refusal::IssuerUnavailable);
    }
    assert_eq!(script.asked(), 1);
    script.0.lock().unwrap().says = None;
    script.has("good", &json!({}));
    assert!(verifier.verify("good").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn requests_wait_no_longer_than_they_have_time_and_only_so_many_are_asked_about_at_once() {
    let (script, verifier) = opened().await;
    script.0.lock().unwrap().delay = Duration::from_secs(3);
    script.has("good", &json!({}));
    let context = RequestContext::new().with_deadline(Deadline::after(Duration::from_secs(1)));
    let begun = Instant::now();
    let refused = context.scope(verifier.verify("good")).await.unwrap_err();
    assert_eq!((refused, begun.elapsed()), (Refusal::IssuerUnavailable, Duration::from_secs(1)));
    assert!(verifier.verify("good").await.is_ok(), "the question goes on");
    assert_eq!((script.asked(), begun.elapsed()), (1, Duration::from_secs(3)));

    let tasks = Tasks::new();
    let asks = (0..2000).map(|number| {
        let verifier = verifier.clone();
        tasks.spawn(async move { verifier.verify(&format!("flood{number}")).await.unwrap_err() })
    });
    for ask in asks.collect::<Vec<_>>() {
        let refused = ask.await.unwrap();
        assert!(matches!(refused, Refusal::Inactive | Refusal::IssuerUnavailable), "{refused}");
    }
    assert_eq!(script.0.lock().unwrap().most_under_way, 32);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_token_is_not_asked_about() {
    let (script, verifier) = opened().await;
    for token in ["", "a b", "a\"b", "é", "a.b.c", "a,b"] {
        assert!(verifier.verify(token).await.is_err(), "{token}");
    }
    assert_eq!(verifier.verify(&"x".repeat(9000)).await.unwrap_err(), Refusal::TooLong);
    assert_eq!(script.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_is_configured_and_never_guessed() {
    let (one, two) = (Script::default(), Script::default());
    let mut first = asking();
    first.prefix = Some("one_".to_owned());
    let other = "http://127.0.0.1:2";
    let signer = Signer::new("k", Algorithm::EdDSA);
    let signing = Issuer::new(ISSUER).with_jwks(jwks(&[&signer]));
    let asking = asking().with_endpoint(format!("{other}/introspect"));
    let config = Config::new([AUDIENCE])
        .with_issuer("one", issuer(first))
        .with_issuer("two", Issuer::new(other).with_introspection(asking))
        .with_issuer("signs", signing);
    let fetch = |issuer: &Issuer| Ok(if issuer.issuer == HERE { one.clone() } else { two.clone() });
    let verifier = Verifier::open_with(&config, &Tasks::new(), clock(), fetch).await.unwrap();
    one.has("one_a", &json!({}));
    two.has("b", &json!({ "iss": other }));
    assert_eq!(verifier.verify("one_a").await.unwrap().issuer(), HERE);
    assert_eq!(verifier.verify("b").await.unwrap().issuer(), other);
    assert_eq!(verifier.verify("one_unheard").await.unwrap_err(), Refusal::Inactive);
    assert_eq!(verifier.verify(&signer.token()).await.unwrap().means(), Means::Bearer);
    assert_eq!((one.asked(), two.asked()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn jwts_are_asked_about_where_that_is_said_and_no_signature_is_enough() {
    let script = Script::default();
    let verifier = verifier(&script, issuer(asking().with_all_tokens())).await;
    let signer = Signer::new("k", Algorithm::EdDSA);
    let token = signer.token_with(|_, claims| claims["iss"] = json!(HERE));
    assert_eq!(verifier.verify(&token).await.unwrap_err(), Refusal::Inactive);
    let other = signer.token();
    assert_eq!(verifier.verify(&other).await.unwrap_err(), Refusal::UnknownIssuer);
    advance(Duration::from_secs(6)).await;
    script.has(&token, &json!({}));
    assert_eq!(verifier.verify(&token).await.unwrap().means(), Means::Introspection);
    assert_eq!(script.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_ask_answers_503_and_shows_no_challenge() {
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt as _;

    let (script, verifier) = opened().await;
    let app = Router::new().route("/", get(|| async { "in" })).layer(AuthenticateLayer::new(verifier));
    let ask = async |token: &str| {
        let request = http::Request::get("/").header("authorization", format!("Bearer {token}"));
        let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("www-authenticate"))
    };
    script.has("good", &json!({}));
    assert_eq!(ask("good").await, (200, false));
    assert_eq!(ask("bad").await, (401, true));
    script.0.lock().unwrap().is_down = true;
    assert_eq!(ask("new").await, (503, false));
    assert_eq!(ask("good").await, (200, false));
}

#[test]
fn every_wrong_value_of_introspection_is_named_by_its_key() {
    let wrong = |change: &dyn Fn(&mut introspection::Config)| {
        let mut asking = asking();
        change(&mut asking);
        let wrong = config(issuer(asking)).wrong();
        wrong.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let at = |key: &str| vec![format!("issuers.main.introspection.{key}")];
    assert_eq!(wrong(&|_| {}), Vec::<String>::new());
    assert_eq!(wrong(&|asking| asking.client_id.clear()), at("client_id"));
    assert_eq!(wrong(&|asking| asking.client_secret = None), at("client_secret"));
    assert_eq!(wrong(&|asking| asking.private_key_file = Some("x".into())), at("private_key_file"));
    assert_eq!(wrong(&|asking| asking.endpoint = Some("http://id.example/".to_owned())), at("endpoint"));
    assert_eq!(wrong(&|asking| asking.prefix = Some(String::new())), at("prefix"));
    assert_eq!(wrong(&|asking| asking.max_age = Duration::from_secs(3601).into()), at("max_age"));

    let with = |prefix: Option<&str>| {
        let mut asking = asking();
        asking.prefix = prefix.map(ToOwned::to_owned);
        asking
    };
    for (one, two, is_wrong) in [
        (None, None, true),
        (Some("a_"), Some("a_b"), true),
        (Some("a_"), Some("b_"), false),
        (Some("a_"), None, false),
    ] {
        let second = Issuer::new("http://127.0.0.1:2").with_introspection(with(two));
        let config = config(issuer(with(one))).with_issuer("other", second);
        let keys: Vec<_> = config.wrong().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys == ["issuers.other.introspection.prefix"], is_wrong, "{keys:?}");
    }
    let both = config(issuer(asking().with_all_tokens()).with_jwks("{}"));
    assert_eq!(both.wrong()[0].0, "issuers.main.jwks");
}
