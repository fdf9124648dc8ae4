//! People who log in, and what clients get for it.

use std::time::Duration;

use serde_json::json;

use super::{browser::*, *};

#[tokio::test]
async fn somebody_logs_in_consents_and_the_client_gets_tokens() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    let url = request(&[("client_id", "app"), ("scope", "openid profile email stock:read")]);
    let login = browser.get(&url).await;
    assert_eq!(login.status, StatusCode::OK);
    assert!(login.body.contains("Log in to app"));
    let consent = browser.log_in(&url, &login, "ada", PASSWORD).await;
    assert!(
        consent.body.contains("app asks to act for you") && consent.body.contains("<code>stock:read</code>"),
        "{consent:?}"
    );
    let back = Back::of(&browser.submit(&url, &consent, &[("action", "allow")]).await);
    assert_eq!(back.uri, BACK);
    assert_eq!((back.field("state"), back.field("iss")), ("a state & more", ISSUER));
    let answer = provider.redeem(back.field("code"), &[("client_id", "app")]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
    assert!(answer.json().get("refresh_token").is_none(), "offline_access was not asked for");
    let access = provider.claims(&answer.text("access_token"));
    for (name, value) in [
        ("sub", json!("u-1")),
        ("client_id", json!("app")),
        ("aud", json!(["stock", ISSUER])),
        ("scope", json!("email openid profile stock:read")),
        ("roles", json!(["clerk"])),
    ] {
        assert_eq!(access[name], value, "{name}");
    }
    let id = Value::Object(provider.read("jwt", &answer.text("id_token")).unwrap());
    for (name, value) in [
        ("iss", json!(ISSUER)),
        ("sub", json!("u-1")),
        ("aud", json!("app")),
        ("nonce", json!("n-1")),
        ("auth_time", json!(NOW)),
    ] {
        assert_eq!(id[name], value, "{name}");
    }
    let info = provider.userinfo(&answer.text("access_token")).await.json();
    let expected = json!({"sub": "u-1", "preferred_username": "ada", "name": "Ada <b>Lovelace</b>", "email": "ada@example.org"});
    assert_eq!(info, expected);
    // The second time nobody is asked: logged in, and consented to as much.
    let less = request(&[("client_id", "app"), ("scope", "openid")]);
    assert!(!Back::of(&browser.get(&less).await).field("code").is_empty());
    let more = request(&[("client_id", "app"), ("scope", "openid offline_access")]);
    assert!(browser.get(&more).await.body.contains("asks to act for you"), "for more they are");
    let elsewhere = request(&[("client_id", "app"), ("scope", "openid"), ("resource", "prices")]);
    assert!(browser.get(&elsewhere).await.body.contains("asks to act for you"), "for another service too");
}

#[tokio::test]
async fn a_request_with_a_mistake_is_answered_to_the_client() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    for (changes, error) in [
        ([("response_type", "")], "invalid_request"),
        ([("response_type", "token")], "unsupported_response_type"),
        ([("response_type", "code id_token")], "unsupported_response_type"),
        ([("response_mode", "fragment")], "invalid_request"),
        ([("request", "a.b.c")], "request_not_supported"),
        ([("request_uri", "https://app.example/r")], "request_uri_not_supported"),
        ([("code_challenge", "")], "invalid_request"),
        ([("code_challenge", "short")], "invalid_request"),
        ([("code_challenge_method", "")], "invalid_request"),
        ([("code_challenge_method", "plain")], "invalid_request"),
        ([("scope", "openid admin")], "invalid_scope"),
        ([("resource", "payments")], "invalid_target"),
        ([("prompt", "none")], "login_required"),
        ([("prompt", "none login")], "invalid_request"),
        ([("prompt", "create")], "invalid_request"),
        ([("max_age", "-1")], "invalid_request"),
    ] {
        let back = Back::of(&browser.get(&request(&changes)).await);
        assert_eq!((back.uri.as_str(), back.field("error")), (BACK, error), "{changes:?}");
        assert_eq!((back.field("state"), back.field("iss")), ("a state & more", ISSUER));
    }
    let twice = Back::of(&browser.get(&format!("{}&state=x", request(&[]))).await);
    assert_eq!(twice.field("error"), "invalid_request");
    assert!(browser.cookies().is_empty(), "nobody was asked anything");
}

#[tokio::test]
async fn nobody_is_sent_to_where_the_client_is_not() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    for changes in [
        [("client_id", "nobody")],
        [("client_id", "")],
        [("client_id", "orders")],
        [("redirect_uri", "")],
        [("redirect_uri", "https://app.example/back/")],
        [("redirect_uri", "https://evil.example/back")],
        [("redirect_uri", "http://127.0.0.1:1/other")],
    ] {
        let answer = browser.get(&request(&changes)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{changes:?}");
        assert!(answer.headers.get("location").is_none() && answer.body.contains("made a mistake"));
    }
    let answer = browser.get(&format!("{}&redirect_uri=https://evil.example/", request(&[]))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    // A program on this machine listens where it can.
    let code = browser.code(&[("redirect_uri", "http://127.0.0.1:51234/back")]).await;
    let answer = provider.redeem(&code, &[("redirect_uri", "http://127.0.0.1:51234/back")]).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn who_refuses_or_gives_up_is_sent_back_without_a_code() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    let url = request(&[("client_id", "app")]);
    let login = browser.get(&url).await;
    let back = Back::of(&browser.submit(&url, &login, &[("action", "cancel")]).await);
    assert_eq!(back.field("error"), "access_denied");
    let consent = browser.log_in(&url, &login, "ada", PASSWORD).await;
    let back = Back::of(&browser.submit(&url, &consent, &[("action", "cancel")]).await);
    assert_eq!((back.field("error"), back.field("state")), ("access_denied", "a state & more"));
    let other = browser.submit(&url, &consent, &[("action", "switch")]).await;
    assert!(other.body.contains("Log in to app"));
    let silent = Back::of(&browser.get(&request(&[("prompt", "none")])).await);
    assert_eq!(silent.field("error"), "login_required", "the login is over");
}

#[tokio::test(start_paused = true)]
async fn a_client_may_ask_for_a_new_login_or_for_none() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    browser.code(&[]).await;
    let silent = request(&[("prompt", "none")]);
    assert!(!Back::of(&browser.get(&silent).await).field("code").is_empty());
    assert_eq!(
        Back::of(&browser.get(&request(&[("prompt", "none"), ("client_id", "app")])).await).field("error"),
        "consent_required"
    );
    for changes in [[("prompt", "login")], [("prompt", "select_account")]] {
        let url = request(&changes);
        let page = browser.get(&url).await;
        assert!(page.body.contains("Log in to"), "{changes:?}");
        assert!(!Back::of(&browser.log_in(&url, &page, "ada", PASSWORD).await).field("code").is_empty());
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let aged = request(&[("max_age", "599")]);
    assert!(browser.get(&aged).await.body.contains("Log in to"));
    assert!(!Back::of(&browser.get(&request(&[("max_age", "600")])).await).field("code").is_empty());
    assert_eq!(
        Back::of(&browser.get(&request(&[("max_age", "0"), ("prompt", "none")])).await).field("error"),
        "login_required"
    );
    // A login that is asked for anew, with a consent after it.
    let url = request(&[("client_id", "app"), ("prompt", "login consent")]);
    let page = browser.get(&url).await;
    let consent = browser.log_in(&url, &page, "ada", PASSWORD).await;
    assert!(
        !Back::of(&browser.submit(&url, &consent, &[("action", "allow")]).await).field("code").is_empty()
    );
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(
        browser.submit(&url, &consent, &[("action", "allow")]).await.body.contains("Log in to"),
        "that login is old"
    );
    tokio::time::sleep(Duration::from_secs(12 * 3600)).await;
    assert_eq!(Back::of(&browser.get(&silent).await).field("error"), "login_required", "logins end");
}

#[tokio::test]
async fn a_request_may_come_as_a_form() {
    let provider = opened(&people()).await;
    let url = request(&[]);
    let (_, query) = url.split_once('?').unwrap();
    let fields: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let sent = provider.post("/authorize", &fields).await;
    assert_eq!((sent.status, sent.header("location")), (StatusCode::SEE_OTHER, url.as_str()));
}

#[tokio::test]
async fn a_user_who_was_removed_gets_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = people();
    config.keys.file = Some(folder.path().join("keys.json"));
    let provider = opened(&config).await;
    let code = Browser::new(&provider).code(&[]).await;
    let token = provider.redeem(&code, &[]).await.text("access_token");
    config.users.remove("ada");
    let without = opened(&config).await;
    assert_eq!(without.userinfo(&token).await.refusal(), (401, "invalid_token".to_owned()));
}
