//! Userinfo, introspection, revocation, logout, token exchange.

use std::time::Duration;

use serde_json::json;

use super::{browser::*, *};

const EXCHANGE: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

async fn login(provider: &Provider) -> Answer {
    provider
        .redeem(&Browser::new(provider).code(&[("scope", "openid offline_access stock:read")]).await, &[])
        .await
}

#[tokio::test(start_paused = true)]
async fn userinfo_is_for_tokens_of_a_login() {
    let provider = opened(&people()).await;
    let bare = provider.get("/userinfo").await;
    assert_eq!((bare.status, bare.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
    let bad = provider.userinfo("a.b.c").await;
    assert_eq!(
        (bad.status, bad.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, "Bearer error=\"invalid_token\"")
    );
    let own = provider.post_as("orders", SECRET, "/token", &[("grant_type", "client_credentials")]).await;
    let refused = provider.userinfo(&own.text("access_token")).await;
    assert_eq!(refused.refusal(), (403, "insufficient_scope".to_owned()));
    let answer = login(&provider).await;
    assert_eq!(
        provider.userinfo(&answer.text("access_token")).await.json(),
        json!({"sub": "u-1"}),
        "no more than was asked for"
    );
    assert_eq!(
        provider.userinfo(&answer.text("id_token")).await.refusal().0,
        401,
        "an ID token is no access token"
    );
    assert_eq!(provider.userinfo(&answer.text("refresh_token")).await.refusal().0, 401);
    let token = format!("Bearer {}", answer.text("access_token"));
    let twice = Request::get("/userinfo").header("authorization", &token).header("authorization", &token);
    assert_eq!(
        provider.ask(twice.body(Body::empty()).unwrap()).await.refusal(),
        (400, "invalid_request".to_owned())
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(provider.userinfo(&answer.text("access_token")).await.refusal().0, 401, "it has ended");
}

#[tokio::test]
async fn what_a_token_says_is_told_to_those_it_concerns() {
    let watcher = Client { introspects: true, ..Client::with_secret(SECRET) };
    let provider = opened(&people().with_client("gateway", watcher)).await;
    let answer = login(&provider).await;
    let ask = async |client: &str, token: &str| {
        provider.post_as(client, SECRET, "/introspect", &[("token", token)]).await
    };
    let access = answer.text("access_token");
    let says = ask("gateway", &access).await.json();
    for (name, value) in [
        ("active", json!(true)),
        ("sub", json!("u-1")),
        ("client_id", json!("own")),
        ("token_type", json!("Bearer")),
    ] {
        assert_eq!(says[name], value, "{name}");
    }
    let inactive = json!({"active": false});
    assert_eq!(ask("orders", &access).await.json(), inactive, "it is not that client's");
    assert_eq!(ask("gateway", &answer.text("refresh_token")).await.json(), inactive, "nor is that");
    assert_eq!(ask("gateway", "rubbish").await.json(), inactive);
    assert_eq!(ask("gateway", "").await.refusal(), (400, "invalid_request".to_owned()));
    let public = provider.post("/introspect", &[("client_id", "own"), ("token", &access)]).await;
    assert_eq!(public.refusal(), (401, "invalid_client".to_owned()));
    // A confidential client's own, of both kinds.
    let code =
        Browser::new(&provider).code(&[("client_id", "web"), ("scope", "openid offline_access")]).await;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
    ];
    let own = provider.post_as("web", SECRET, "/token", &fields).await;
    for token in ["access_token", "refresh_token"] {
        assert_eq!(ask("web", &own.text(token)).await.json()["active"], true, "{token}");
    }
}

#[tokio::test]
async fn a_client_revokes_its_tokens_and_nobody_elses() {
    let provider = opened(&people()).await;
    let revoke = async |client: &str, token: &str| {
        provider.post("/revoke", &[("client_id", client), ("token", token)]).await
    };
    let answer = login(&provider).await;
    let (access, refresh) = (answer.text("access_token"), answer.text("refresh_token"));
    for token in [&access, &refresh] {
        assert_eq!(revoke("app", token).await.refusal(), (400, "unauthorized_client".to_owned()));
    }
    assert_eq!(revoke("nobody", &access).await.refusal(), (401, "invalid_client".to_owned()));
    assert_eq!(revoke("own", "rubbish").await.status, StatusCode::OK);
    assert_eq!(revoke("own", "").await.refusal(), (400, "invalid_request".to_owned()));
    // An access token alone; then, with the refresh token, all of the login.
    assert_eq!(revoke("own", &access).await.status, StatusCode::OK);
    assert_eq!(revoke("own", &access).await.status, StatusCode::OK, "twice is as good");
    assert_eq!(provider.userinfo(&access).await.refusal().0, 401);
    let next = provider.refreshed(&refresh, &[]).await;
    assert_eq!(provider.userinfo(&next.text("access_token")).await.status, StatusCode::OK);
    assert_eq!(revoke("own", &next.text("refresh_token")).await.status, StatusCode::OK);
    assert_eq!(provider.userinfo(&next.text("access_token")).await.refusal().0, 401);
    assert_eq!(provider.refreshed(&next.text("refresh_token"), &[]).await.refusal().1, "invalid_grant");
}

#[tokio::test]
async fn a_client_that_knows_who_is_logged_in_logs_them_out() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    let code = browser.code(&[]).await;
    let hint = provider.redeem(&code, &[]).await.text("id_token");
    let url = |changes: &[(&str, &str)]| {
        format!("/logout?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(changes).finish())
    };
    for changes in [
        vec![("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", "https://evil.example/")],
        vec![("post_logout_redirect_uri", "https://app.example/bye?a=b")],
        vec![("id_token_hint", hint.as_str()), ("client_id", "app")],
    ] {
        assert_eq!(browser.get(&url(&changes)).await.status, StatusCode::BAD_REQUEST, "{changes:?}");
    }
    let silent = request(&[("prompt", "none")]);
    assert!(!Back::of(&browser.get(&silent).await).field("code").is_empty(), "still logged in");
    let changes = [
        ("id_token_hint", hint.as_str()),
        ("post_logout_redirect_uri", "https://app.example/bye?a=b"),
        ("state", "x y"),
    ];
    let answer = browser.get(&url(&changes)).await;
    assert_eq!(answer.header("location"), "https://app.example/bye?a=b&state=x+y");
    assert_eq!(Back::of(&browser.get(&silent).await).field("error"), "login_required");
}

#[tokio::test]
async fn any_other_site_only_has_people_asked_whether_to_log_out() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    browser.code(&[]).await;
    let bob = Browser::new(&provider);
    let url = request(&[]);
    let page = bob.get(&url).await;
    let code = Back::of(&bob.log_in(&url, &page, "bob", "another password").await).field("code").to_owned();
    let of_bob = provider.redeem(&code, &[]).await.text("id_token");
    let silent = request(&[("prompt", "none")]);
    for url in
        ["/logout".to_owned(), format!("/logout?id_token_hint={of_bob}"), "/logout?client_id=own".to_owned()]
    {
        let page = browser.get(&url).await;
        assert!(page.body.contains("Log out?"), "{url}");
        let forged = browser.send(posted(&url, &[("form_token", "made up"), ("action", "logout")])).await;
        assert!(forged.body.contains("Log out?"));
        assert!(!Back::of(&browser.get(&silent).await).field("code").is_empty(), "still logged in");
    }
    let page = browser.get("/logout").await;
    assert!(
        browser.submit("/logout", &page, &[("action", "logout")]).await.body.contains("You are logged out")
    );
    assert_eq!(Back::of(&browser.get(&silent).await).field("error"), "login_required");
}

fn exchanging(name: &str, audiences: &[&str]) -> (String, Client) {
    let client = Client::with_secret(SECRET).with_grants([Grant::TokenExchange]);
    (
        name.to_owned(),
        client.with_scopes(["stock:read", "stock:write"]).with_audiences(audiences.iter().copied()),
    )
}

#[tokio::test(start_paused = true)]
async fn a_service_exchanges_the_token_it_was_called_with() {
    let mut config = people();
    config.clients.extend([exchanging("stock", &["prices"]), exchanging("prices", &["taxes"])]);
    let provider = opened(&config).await;
    let called_with = login(&provider).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let exchange = async |client: &str, token: &str, more: &[(&str, &str)]| {
        let fields =
            [&[EXCHANGE, ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)], more].concat();
        provider.post_as(client, SECRET, "/token", &fields).await
    };
    let first = exchange("stock", &called_with.text("access_token"), &[("audience", "prices")]).await;
    assert_eq!(first.text("issued_token_type"), ACCESS_TOKEN);
    let claims = provider.claims(&first.text("access_token"));
    for (name, value) in [
        ("sub", json!("u-1")),
        ("client_id", json!("stock")),
        ("aud", json!("prices")),
        // Of what the caller had, what the service may.
        ("scope", json!("stock:read")),
        ("act", json!({"sub": "stock"})),
        ("roles", json!(["clerk"])),
        ("auth_time", json!(NOW)),
        // No longer than what it comes from.
        ("exp", json!(NOW + 600)),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(first.json()["expires_in"], 500);
    let second = exchange("prices", &first.text("access_token"), &[]).await;
    let act = provider.claims(&second.text("access_token"))["act"].clone();
    assert_eq!(act, json!({"sub": "prices", "act": {"sub": "stock"}}));
    // What came of a login ends with it.
    provider.post("/revoke", &[("client_id", "own"), ("token", &called_with.text("refresh_token"))]).await;
    let late = exchange("prices", &first.text("access_token"), &[]).await;
    assert_eq!(late.refusal(), (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn an_exchange_gives_nobody_more_than_they_may_have() {
    let mut config = people();
    config.clients.extend([
        exchanging("stock", &["prices"]),
        exchanging("prices", &["taxes"]),
        exchanging("lonely", &[]),
    ]);
    let provider = opened(&config).await;
    let answer = login(&provider).await;
    let (access, id) = (answer.text("access_token"), answer.text("id_token"));
    let good = [EXCHANGE, ("subject_token", access.as_str()), ("subject_token_type", ACCESS_TOKEN)];
    let with = |name: &'static str, value: &'static str| [&good[..], &[(name, value)]].concat();
    for (client, fields, error) in [
        ("prices", good.to_vec(), "invalid_request"),
        ("orders", good.to_vec(), "unauthorized_client"),
        ("stock", with("audience", "stock"), "invalid_target"),
        ("stock", with("scope", "stock:write"), "invalid_scope"),
        ("stock", with("scope", "openid"), "invalid_scope"),
        ("stock", with("actor_token", "x"), "invalid_request"),
        ("stock", with("requested_token_type", "urn:ietf:params:oauth:token-type:saml2"), "invalid_request"),
        ("stock", vec![EXCHANGE, good[1]], "invalid_request"),
        ("stock", vec![EXCHANGE, good[2]], "invalid_request"),
        ("stock", vec![EXCHANGE, ("subject_token", &id), good[2]], "invalid_request"),
        (
            "stock",
            vec![EXCHANGE, good[1], ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")],
            "invalid_request",
        ),
    ] {
        let answer = provider.post_as(client, SECRET, "/token", &fields).await;
        assert_eq!(answer.refusal(), (400, error.to_owned()), "{client} {fields:?}");
    }
}
