//! Clients that get tokens for themselves, and those that get none.

use std::collections::BTreeSet;

use jsonwebtoken::Algorithm as Jws;
use serde_json::json;

use super::*;
use crate::tests::signer::Signer;

const CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");

#[tokio::test]
async fn a_client_gets_a_token_for_itself() {
    let provider = opened(&config()).await;
    let answer = provider.post_as("orders", SECRET, "/token", &[CREDENTIALS]).await;
    assert_eq!(
        (answer.status, answer.header("cache-control"), answer.header("pragma")),
        (StatusCode::OK, "no-store", "no-cache")
    );
    let json = answer.json();
    assert_eq!(json["token_type"], "Bearer");
    assert_eq!((&json["expires_in"], &json["scope"]), (&json!(600), &json!("stock:read stock:write")));
    let names: BTreeSet<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        BTreeSet::from(["access_token", "expires_in", "scope", "token_type"]),
        "nothing for later"
    );
    let claims = provider.claims(&answer.text("access_token"));
    for (name, value) in [
        ("iss", json!(ISSUER)),
        ("sub", json!("orders")),
        ("client_id", json!("orders")),
        ("aud", json!("stock")),
        ("iat", json!(NOW)),
        ("exp", json!(NOW + 600)),
        ("scope", json!("stock:read stock:write")),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
}

#[tokio::test]
async fn a_client_gets_no_more_than_it_asks_for_and_may_have() {
    let provider = opened(&config()).await;
    let ask = async |fields: &[(&str, &str)]| {
        let fields = [&[CREDENTIALS], fields].concat();
        provider.post_as("orders", SECRET, "/token", &fields).await
    };
    let claims = provider.claims(
        &ask(&[("scope", "stock:read"), ("resource", "https://prices.example/api")])
            .await
            .text("access_token"),
    );
    assert_eq!(
        (&claims["scope"], &claims["aud"]),
        (&json!("stock:read"), &json!("https://prices.example/api"))
    );
    let claims = provider.claims(
        &ask(&[("resource", "https://prices.example/api"), ("audience", "stock")]).await.text("access_token"),
    );
    assert_eq!(claims["aud"], json!(["https://prices.example/api", "stock"]));
    for (fields, error) in [
        ([("scope", "stock:read admin")], "invalid_scope"),
        ([("scope", "openid")], "invalid_scope"),
        ([("scope", "stock:read  stock:write")], "invalid_scope"),
        ([("scope", "stock:read\tstock:write")], "invalid_scope"),
        ([("resource", "https://prices.example/api/")], "invalid_target"),
        ([("audience", "payments")], "invalid_target"),
    ] {
        assert_eq!(ask(&fields).await.refusal(), (400, error.to_owned()), "{fields:?}");
    }
}

#[tokio::test]
async fn who_proves_nothing_gets_nothing() {
    let config = config().with_client(
        "app",
        Client::public().with_grants([Grant::AuthorizationCode]).with_redirect_uri("https://a.example/"),
    );
    let provider = opened(&config).await;
    for (client, secret) in [
        ("orders", "a secret that is wrong"),
        ("orders", ""),
        ("nobody", SECRET),
        ("app", SECRET),
        ("app", ""),
        ("", ""),
    ] {
        let answer = provider.post_as(client, secret, "/token", &[CREDENTIALS]).await;
        assert_eq!(answer.refusal(), (401, "invalid_client".to_owned()), "{client} {secret}");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"clients\"");
    }
    // In the body only where that was configured.
    let in_body = [CREDENTIALS, ("client_id", "orders"), ("client_secret", SECRET)];
    assert_eq!(provider.post("/token", &in_body).await.refusal().0, 401);
    assert_eq!(provider.post("/token", &[CREDENTIALS, ("client_id", "orders")]).await.refusal().0, 401);
    assert_eq!(provider.post("/token", &[CREDENTIALS]).await.refusal(), (401, "invalid_client".to_owned()));
    let relaxed = Config::new(ISSUER).with_client("orders", Client { secret_in_body: true, ..orders() });
    assert_eq!(opened(&relaxed).await.post("/token", &in_body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_secret_is_taken_with_and_without_the_encoding_of_forms() {
    let provider = opened(&config()).await;
    let as_it_is = format!("Basic {}", STANDARD.encode(format!("orders:{SECRET}")));
    for value in [as_it_is, basic("orders", SECRET)] {
        let mut request = posted("/token", &[CREDENTIALS]);
        request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        assert_eq!(provider.ask(request).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_secret_that_is_configured_by_its_hash_is_as_good() {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SECRET.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let client = Client { secret: None, secret_sha256: Some(hash), ..orders() };
    let provider = opened(&Config::new(ISSUER).with_client("orders", client)).await;
    assert_eq!(provider.post_as("orders", SECRET, "/token", &[CREDENTIALS]).await.status, StatusCode::OK);
    assert_eq!(
        provider.post_as("orders", "another secret, as long", "/token", &[CREDENTIALS]).await.refusal().0,
        401
    );
}

#[tokio::test]
async fn requests_that_are_malformed_are_told_so() {
    let provider = opened(&config()).await;
    let authorized = |mut request: Request<Body>| {
        request.headers_mut().insert(header::AUTHORIZATION, basic("orders", SECRET).parse().unwrap());
        request
    };
    let invalid = (400, "invalid_request".to_owned());
    for fields in [
        vec![("scope", "stock:read")],
        vec![CREDENTIALS, CREDENTIALS],
        vec![CREDENTIALS, ("scope", "stock:read"), ("scope", "stock:write")],
        vec![CREDENTIALS, ("client_id", "orders"), ("client_secret", SECRET)],
        vec![CREDENTIALS, ("client_id", "another")],
        vec![CREDENTIALS, ("client_assertion", "a.b.c")],
    ] {
        assert_eq!(
            provider.ask(authorized(posted("/token", &fields))).await.refusal(),
            invalid,
            "{fields:?}"
        );
    }
    let unsupported = provider.ask(authorized(posted("/token", &[("grant_type", "password")]))).await;
    assert_eq!(unsupported.refusal(), (400, "unsupported_grant_type".to_owned()));
    // Parameters in the URI, another kind of body, one that is too long, two proofs in headers.
    assert_eq!(provider.ask(authorized(posted("/token?a=b", &[CREDENTIALS]))).await.refusal(), invalid);
    let mut json = authorized(posted("/token", &[CREDENTIALS]));
    json.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    assert_eq!(provider.ask(json).await.refusal(), invalid);
    let long = "x".repeat(70 << 10);
    assert_eq!(
        provider.ask(authorized(posted("/token", &[CREDENTIALS, ("x", &long)]))).await.refusal(),
        invalid
    );
    let mut twice = authorized(posted("/token", &[CREDENTIALS]));
    twice.headers_mut().append(header::AUTHORIZATION, "Basic eDp5".parse().unwrap());
    assert_eq!(provider.ask(twice).await.refusal(), invalid);
    assert_eq!(provider.get("/token").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_client_may_get_tokens_only_as_it_is_configured() {
    let mut client = orders();
    client.grants.clear();
    let provider = opened(&Config::new(ISSUER).with_client("orders", client)).await;
    let answer = provider.post_as("orders", SECRET, "/token", &[CREDENTIALS]).await;
    assert_eq!(answer.refusal(), (400, "unauthorized_client".to_owned()));
}

#[tokio::test]
async fn nothing_of_a_refused_request_comes_back() {
    let provider = opened(&config()).await;
    let answer =
        provider.post_as("orders", SECRET, "/token", &[CREDENTIALS, ("scope", "<script>x\"\\")]).await;
    assert!(!answer.body.contains("<script"), "{}", answer.body);
}

const BEARER: (&str, &str) =
    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");

/// A client that signs, and a provider that knows it.
async fn signing() -> (Signer, Provider) {
    let signer = Signer::new("1", Jws::EdDSA);
    let client = Client { secret: None, jwks: Some(crate::tests::jwks(&[&signer])), ..orders() };
    (
        signer,
        opened(&Config::new(ISSUER).with_client("orders", client.clone()).with_client("other", client)).await,
    )
}

fn assertion(signer: &Signer, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    signer.token_with(|header, claims| {
        header["typ"] = json!("JWT");
        *claims = json!({"iss": "orders", "sub": "orders", "aud": ISSUER, "jti": "1", "exp": NOW + 60});
        change(header, claims);
    })
}

#[tokio::test]
async fn a_client_proves_who_it_is_by_signing_once() {
    let (signer, provider) = signing().await;
    let send = async |assertion: &str| {
        provider.post("/token", &[CREDENTIALS, BEARER, ("client_assertion", assertion)]).await
    };
    let first = assertion(&signer, |_, _| {});
    assert_eq!(send(&first).await.status, StatusCode::OK);
    assert_eq!(send(&first).await.refusal(), (401, "invalid_client".to_owned()), "a copy");
    let at_endpoint = assertion(&signer, |_, claims| {
        claims["aud"] = json!([format!("{ISSUER}/token")]);
        claims["jti"] = json!("2");
    });
    assert_eq!(send(&at_endpoint).await.status, StatusCode::OK);
    let of_other =
        assertion(&signer, |_, claims| (claims["iss"], claims["sub"]) = (json!("other"), json!("other")));
    assert_eq!(send(&of_other).await.status, StatusCode::OK, "ids are those of a client");
}

#[tokio::test]
async fn assertions_that_are_not_quite_right_prove_nothing() {
    let (signer, provider) = signing().await;
    let stranger = Signer::new("1", Jws::EdDSA);
    let changed = |change: fn(&mut Value, &mut Value)| assertion(&signer, change);
    for (what, assertion) in [
        ("another key", assertion(&stranger, |_, _| {})),
        ("another subject", changed(|_, claims| claims["sub"] = json!("other"))),
        ("another audience", changed(|_, claims| claims["aud"] = json!("https://other.example"))),
        ("two audiences", changed(|_, claims| claims["aud"] = json!([ISSUER, "https://other.example"]))),
        ("ended", changed(|_, claims| claims["exp"] = json!(NOW - 31))),
        ("good for long", changed(|_, claims| claims["exp"] = json!(NOW + 3600))),
        ("no end", changed(|_, claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
        ("no id", changed(|_, claims| drop(claims.as_object_mut().unwrap().remove("jti")))),
        ("not yet", changed(|_, claims| claims["nbf"] = json!(NOW + 50))),
        ("an access token", changed(|header, _| header["typ"] = json!("at+jwt"))),
        ("unsigned", changed(|header, _| header["alg"] = json!("none"))),
        ("no token", "a.b.c".to_owned()),
        ("too long", "a".repeat(9 << 10)),
    ] {
        let answer = provider.post("/token", &[CREDENTIALS, BEARER, ("client_assertion", &assertion)]).await;
        assert_eq!(answer.refusal(), (401, "invalid_client".to_owned()), "{what}");
    }
    let good = assertion(&signer, |_, _| {});
    for fields in [
        vec![CREDENTIALS, ("client_assertion", good.as_str())],
        vec![CREDENTIALS, ("client_assertion", good.as_str()), ("client_assertion_type", "saml")],
    ] {
        assert_eq!(provider.post("/token", &fields).await.refusal(), (400, "invalid_request".to_owned()));
    }
    let for_another = [CREDENTIALS, BEARER, ("client_assertion", good.as_str()), ("client_id", "other")];
    assert_eq!(provider.post("/token", &for_another).await.refusal().0, 401);
    // A secret does not do in place of a signature.
    assert_eq!(provider.post_as("orders", SECRET, "/token", &[CREDENTIALS]).await.refusal().0, 401);
}
