//! What an endpoint may answer, and what the configuration may be.

use aws_lc_rs::{
    encoding::AsDer as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::*;
use crate::{Issuer, Outgoing, Verifier, outgoing::Mode};

#[tokio::test(start_paused = true)]
async fn answers_that_are_no_bearer_token_are_not_shown_to_anybody() {
    let good = |change: Value| {
        let mut answer = json!({ "access_token": "a.b.c", "token_type": "bearer", "expires_in": 60 });
        answer.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        answer.to_string()
    };
    let long = "x".repeat((16 << 10) + 1);
    for (status, body) in [
        (200, String::new()),
        (200, "<html>".to_owned()),
        (200, "[]".to_owned()),
        (200, r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#.to_owned()),
        (200, good(json!({ "access_token": "" }))),
        (200, good(json!({ "access_token": 7 }))),
        (200, good(json!({ "access_token": "a b" }))),
        (200, good(json!({ "access_token": "a\r\nx-admin: true" }))),
        (200, good(json!({ "access_token": "\u{e9}" }))),
        (200, good(json!({ "access_token": long }))),
        (200, good(json!({ "token_type": "DPoP" }))),
        (200, good(json!({ "token_type": "N_A" }))),
        (200, good(json!({ "token_type": null }))),
        (200, good(json!({ "expires_in": 0 }))),
        (200, good(json!({ "expires_in": -1 }))),
        (200, good(json!({ "expires_in": "soon" }))),
        (200, good(json!({ "expires_in": [60] }))),
        (200, good(json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:id_token" }))),
        (201, good(json!({}))),
        (302, good(json!({}))),
        (401, r#"{"error":"invalid_client"}"#.to_owned()),
        (500, good(json!({}))),
    ] {
        let script = Script::default();
        script.says(status, &body);
        let tokens = to_stock(&script, Target::client_credentials("stock"));
        let (kind, text) = shown(&tokens).await.unwrap_err();
        assert_eq!(kind, Kind::Unavailable, "{status} {body:.100}");
        assert!(!text.contains("a.b.c"), "no token in logs: {text}");
    }
    for change in [
        json!({}),
        json!({ "token_type": "BEARER" }),
        json!({ "expires_in": 1e300 }),
        json!({ "expires_in": "60" }),
        json!({ "expires_in": null }),
        json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:jwt" }),
        json!({ "unheard_of": {} }),
    ] {
        let script = Script::default();
        script.says(200, &good(change.clone()));
        let tokens = to_stock(&script, Target::client_credentials("stock"));
        assert_eq!(shown(&tokens).await.unwrap().unwrap(), "Bearer a.b.c", "{change}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_that_is_not_told_is_short() {
    let script = Script::default();
    let tokens = to_stock(&script, Target::client_credentials("stock"));
    shown(&tokens).await.unwrap();
    tokio::time::advance(Duration::from_secs(269)).await;
    assert!(ready(&tokens).is_some());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(ready(&tokens).is_none());
}

#[tokio::test]
async fn a_client_proves_itself_with_a_key_that_may_be_replaced() {
    let (directory, script) = (tempfile::tempdir().unwrap(), Script::lasting(1));
    let file = directory.path().join("key.pem");
    let mut registration = Registration::new(ISSUER, "orders");
    (registration.private_key_file, registration.key_id) = (Some(file.clone()), Some("one".to_owned()));
    let config = Config::new(registration).with_target("stock", Target::client_credentials("stock"));
    let (_, text) = shown(&opened(&script, &config)).await.unwrap_err();
    assert!(text.contains("key.pem"), "{text}");
    std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----").unwrap();
    let (_, text) = shown(&opened(&script, &config)).await.unwrap_err();
    assert!(text.contains("expected a key of RSA"), "{text}");

    for _ in 0..2 {
        let pair = Ed25519KeyPair::generate().unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        std::fs::write(&file, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"))
            .unwrap();
        shown(&opened(&script, &config)).await.unwrap().unwrap();
        let asked = script.asked().pop().unwrap();
        assert_eq!(asked.authorization, None);
        assert_eq!(asked.form["client_id"], "orders");
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        assert_eq!(asked.form["client_assertion_type"], kind);

        // Read by what reads the tokens of others.
        let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "one" });
        let mut issuer = Issuer::new("orders").with_jwks(json!({ "keys": [jwk] }).to_string());
        issuer.relax = [crate::Relaxation::Typ, crate::Relaxation::ClientId].into();
        let config = crate::Config::new([ISSUER]).with_issuer("main", issuer);
        let verifier = crate::tests::opened(config).await;
        let principal = verifier.verify(&asked.form["client_assertion"]).await.unwrap();
        assert_eq!((principal.subject(), principal.issuer()), (Some("orders"), "orders"));
        let left = principal.expires() - crate::tests::NOW as f64;
        assert!((0.0..=90.0).contains(&left), "{left}");
    }
}

#[test]
fn every_wrong_value_is_named_by_its_key() {
    let wrong = |config: Config| {
        let mut keys = Vec::new();
        config.wrong(&mut |key, _| keys.push(key));
        keys
    };
    let target = Target::client_credentials("stock");
    let with = |change: &dyn Fn(&mut Target)| {
        let mut target = target.clone();
        change(&mut target);
        wrong(Config::new(registration()).with_target("stock", target))
    };
    assert_eq!(with(&|_| {}), Vec::<String>::new());
    assert_eq!(with(&|target| target.audience = None), ["targets.stock.audience"]);
    assert_eq!(with(&|target| target.client = Some("x".to_owned())), ["targets.stock.client"]);
    assert_eq!(with(&|target| target.scopes = vec!["a b".to_owned()]), ["targets.stock.scopes"]);
    assert_eq!(with(&|target| target.resource = Some("https://a/#b".to_owned())), ["targets.stock.resource"]);
    assert_eq!(with(&|target| target.mode = Mode::Forward), ["targets.stock.mode"]);
    assert_eq!(with(&|target| target.actor = true), ["targets.stock.actor"]);
    assert_eq!(with(&|target| target.cache = 0), ["targets.stock.cache"]);
    assert_eq!(with(&|target| target.max_age = Duration::ZERO.into()), ["targets.stock.max_age"]);
    assert_eq!(wrong(Config::default().with_target("stock", target.clone())), ["targets.stock.mode"]);

    let of = |change: &dyn Fn(&mut Registration)| {
        let mut registration = registration();
        change(&mut registration);
        wrong(Config::new(registration.clone()).with_client("web", registration))
    };
    assert_eq!(of(&|_| {}), Vec::<String>::new());
    for (key, change) in [
        ("client_id", &(|client: &mut Registration| client.client_id.clear()) as &dyn Fn(&mut Registration)),
        ("client_secret", &|client| client.client_secret = None),
        ("private_key_file", &|client| client.private_key_file = Some("key.pem".into())),
        ("issuer", &|client| client.issuer = Some("http://id.example".to_owned())),
        ("issuer", &|client| client.issuer = None),
        ("token_endpoint", &|client| client.token_endpoint = Some("id.example/token".to_owned())),
        ("timeout", &|client| client.timeout = Duration::from_secs(61).into()),
    ] {
        assert_eq!(of(change), [format!("client.{key}"), format!("clients.web.{key}")]);
    }
    let config = Config::new(Registration::new("http://id.example", "x").with_secret("y"));
    let unusable = Outgoing::open(&config, &Tasks::new()).unwrap_err();
    assert_eq!(unusable.key, "outgoing.client.issuer");
}

#[tokio::test]
async fn secrets_and_tokens_are_not_shown() {
    let script = Script::lasting(60);
    let config = Config::new(registration()).with_target("stock", Target::client_credentials("stock"));
    let issuers = issuers(&script, &config, &Tasks::new());
    let tokens = issuers.of("orders");
    shown(&tokens).await.unwrap();
    let credential = tokens.credential("stock", Deadline::after(Duration::from_secs(1)));
    let all = format!(
        "{config:?} {} {issuers:?} {tokens:?} {credential:?}",
        serde_json::to_string(&config).unwrap()
    );
    assert!(!all.contains("s3cret") && !all.contains("stock..0") && all.contains("orders"), "{all}");
}

#[tokio::test]
async fn a_forgotten_token_is_verified_anew() {
    let signer = crate::tests::signer::Signer::new("a", jsonwebtoken::Algorithm::EdDSA);
    let verifier: Verifier = crate::tests::trusting(&[&signer]).await;
    let token = signer.token();
    for forget in [&(|verifier: &Verifier| verifier.forget(&token)) as &dyn Fn(&Verifier), &|verifier| {
        verifier.forget_id(crate::tests::ISSUER, "1")
    }] {
        verifier.verify(&token).await.unwrap();
        verifier.forget("other");
        verifier.forget_id(crate::tests::ISSUER, "2");
        verifier.forget_id("https://other.example", "1");
        assert!(verifier.known(&token).is_some());
        forget(&verifier);
        assert!(verifier.known(&token).is_none());
    }
}
