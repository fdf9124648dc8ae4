//! Codes and refresh tokens, each good once.

use std::time::Duration;

use serde_json::json;

use super::{browser::*, *};

const OFFLINE: [(&str, &str); 1] = [("scope", "openid offline_access stock:read")];

fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

#[tokio::test]
async fn a_code_is_good_once_and_a_second_use_ends_what_the_first_has_given() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    let code = browser.code(&OFFLINE).await;
    let first = provider.redeem(&code, &[]).await;
    let (access, refresh) = (first.text("access_token"), first.text("refresh_token"));
    assert_eq!(provider.userinfo(&access).await.status, StatusCode::OK);
    assert_eq!(provider.redeem(&code, &[]).await.refusal(), invalid_grant());
    assert_eq!(provider.userinfo(&access).await.refusal(), (401, "invalid_token".to_owned()));
    assert_eq!(provider.refreshed(&refresh, &[]).await.refusal(), invalid_grant());
}

#[tokio::test]
async fn of_two_that_use_a_code_at_once_none_keeps_anything() {
    let provider = opened(&people()).await;
    let code = Browser::new(&provider).code(&OFFLINE).await;
    let (one, other) = tokio::join!(provider.redeem(&code, &[]), provider.redeem(&code, &[]));
    for answer in [one, other].iter().filter(|answer| answer.status == StatusCode::OK) {
        assert_eq!(provider.refreshed(&answer.text("refresh_token"), &[]).await.refusal(), invalid_grant());
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_is_for_its_client_its_place_its_verifier_and_its_minute() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    for (changes, error) in [
        ([("client_id", "app")], "invalid_grant"),
        ([("redirect_uri", "http://127.0.0.1/back")], "invalid_grant"),
        ([("redirect_uri", "")], "invalid_request"),
        ([("code_verifier", "another-verifier-of-43-to-128-characters-0123")], "invalid_grant"),
        ([("code_verifier", "short")], "invalid_grant"),
        ([("code_verifier", "")], "invalid_request"),
        ([("code", "made-up")], "invalid_grant"),
        ([("code", "")], "invalid_request"),
    ] {
        let code = browser.code(&[("prompt", "login")]).await;
        assert_eq!(provider.redeem(&code, &changes).await.refusal(), (400, error.to_owned()), "{changes:?}");
    }
    let code = browser.code(&[("prompt", "login")]).await;
    let guess = [("code_verifier", "another-verifier-of-43-to-128-characters-0123")];
    assert_eq!(provider.redeem(&code, &guess).await.refusal(), invalid_grant());
    assert_eq!(provider.redeem(&code, &[]).await.refusal(), invalid_grant(), "there is one guess");
    let code = browser.code(&[("prompt", "login")]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(provider.redeem(&code, &[]).await.refusal(), invalid_grant());
}

#[tokio::test]
async fn a_client_with_a_secret_proves_it_for_codes_too() {
    let provider = opened(&people()).await;
    let code = Browser::new(&provider).code(&[("client_id", "web")]).await;
    assert_eq!(
        provider.redeem(&code, &[("client_id", "web")]).await.refusal(),
        (401, "invalid_client".to_owned())
    );
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(provider.post_as("web", SECRET, "/token", &fields).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn each_refresh_token_brings_the_next_and_a_second_use_ends_all() {
    let provider = opened(&people()).await;
    let first = provider.redeem(&Browser::new(&provider).code(&OFFLINE).await, &[]).await;
    let mut tokens = vec![first.text("refresh_token")];
    let mut access = String::new();
    for _ in 0..3 {
        // Longer in all than one is good for.
        tokio::time::sleep(Duration::from_secs(10 * 24 * 3600)).await;
        let answer = provider.refreshed(tokens.last().unwrap(), &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        access = answer.text("access_token");
        assert_eq!(provider.claims(&access)["auth_time"], json!(NOW), "that of the login");
        let id = Value::Object(provider.read("jwt", &answer.text("id_token")).unwrap());
        assert_eq!((&id["sub"], id.get("nonce")), (&json!("u-1"), None));
        assert!(!tokens.contains(&answer.text("refresh_token")));
        tokens.push(answer.text("refresh_token"));
    }
    assert_eq!(provider.userinfo(&access).await.status, StatusCode::OK);
    // The one before the last is with a thief, or was: nobody knows which of the two is the client.
    assert_eq!(provider.refreshed(&tokens[2], &[]).await.refusal(), invalid_grant());
    assert_eq!(provider.refreshed(&tokens[3], &[]).await.refusal(), invalid_grant());
    assert_eq!(provider.userinfo(&access).await.refusal().0, 401);
}

#[tokio::test]
async fn of_two_that_refresh_at_once_none_keeps_anything() {
    let provider = opened(&people()).await;
    let token =
        provider.redeem(&Browser::new(&provider).code(&OFFLINE).await, &[]).await.text("refresh_token");
    let (one, other) = tokio::join!(provider.refreshed(&token, &[]), provider.refreshed(&token, &[]));
    for answer in [one, other].iter().filter(|answer| answer.status == StatusCode::OK) {
        assert_eq!(provider.refreshed(&answer.text("refresh_token"), &[]).await.refusal(), invalid_grant());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_for_its_client_its_scopes_and_its_time() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    let answer = provider.redeem(&browser.code(&OFFLINE).await, &[]).await;
    let token = answer.text("refresh_token");
    let of_other = [("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", &token)];
    assert_eq!(provider.post("/token", &of_other).await.refusal(), invalid_grant());
    assert_eq!(
        provider.refreshed(&token, &[("scope", "openid email")]).await.refusal(),
        (400, "invalid_scope".to_owned())
    );
    assert_eq!(
        provider.refreshed(&token, &[("resource", "prices")]).await.refusal(),
        (400, "invalid_target".to_owned())
    );
    assert_eq!(provider.refreshed("made up", &[]).await.refusal(), invalid_grant());
    assert_eq!(provider.refreshed("", &[]).await.refusal(), (400, "invalid_request".to_owned()));
    let less = provider.refreshed(&token, &[("scope", "stock:read")]).await;
    assert_eq!(less.text("scope"), "stock:read");
    assert!(less.json().get("id_token").is_none());
    let all = provider.refreshed(&less.text("refresh_token"), &[]).await;
    assert_eq!(all.text("scope"), "offline_access openid stock:read", "as much as was granted");
    tokio::time::sleep(Duration::from_secs(14 * 24 * 3600)).await;
    assert_eq!(provider.refreshed(&all.text("refresh_token"), &[]).await.refusal(), invalid_grant());
}
