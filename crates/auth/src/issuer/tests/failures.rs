//! What fails on the side of the provider, and what its clients hear of that.

use super::{browser::*, *};
use crate::issuer::store::Kind;

const CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");

fn unavailable() -> (u16, String) {
    (503, "temporarily_unavailable".to_owned())
}

/// Until `until` no record more can be added.
async fn fill(provider: &Provider, until: u64) {
    let mut added = 0_u32;
    while provider.store().insert(Kind::Revoked, &format!("another {added}"), &(), until, NOW).await.is_ok() {
        added += 1;
    }
    assert!(added > 1000, "{added}");
}

#[tokio::test]
async fn a_store_that_is_full_turns_away_what_it_had_to_remember_and_nothing_else() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    let offline = [("scope", "openid offline_access stock:read")];
    let access = provider.redeem(&browser.code(&offline).await, &[]).await.text("access_token");
    let code = browser.code(&[("scope", "openid offline_access"), ("prompt", "login")]).await;
    // Longer than the test takes: what has ended makes room.
    let until = NOW + 3600;
    fill(&provider, until).await;

    assert_eq!(provider.redeem(&code, &[]).await.refusal(), unavailable());
    let revoked = provider.post("/revoke", &[("client_id", "own"), ("token", &access)]).await;
    assert_eq!(revoked.refusal(), unavailable(), "it is not said to be revoked");
    assert!(revoked.header("www-authenticate").is_empty());
    // OpenID Connect Core section 3.1.2.6: the client is told, by the way back.
    let back = Browser::new(&provider).back_with(&[]).await;
    assert_eq!((back.field("error"), back.field("state")), ("temporarily_unavailable", "a state & more"));

    assert_eq!(provider.userinfo(&access).await.status, StatusCode::OK);
    assert_eq!(provider.post_as("orders", SECRET, "/token", &[CREDENTIALS]).await.status, StatusCode::OK);
    provider.store().sweep(until).await.unwrap();
    assert!(!Browser::new(&provider).code(&[]).await.is_empty());
    let revoked = provider.post("/revoke", &[("client_id", "own"), ("token", &access)]).await;
    assert_eq!(revoked.status, StatusCode::OK);
    assert_eq!(provider.userinfo(&access).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_rotation_that_cannot_be_written_is_told_without_its_reason_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { faults: true, ..config() };
    config.keys.file = Some(folder.path().join("keys.json"));
    let provider = opened(&config).await;
    let before = provider.jwks();
    folder.close().unwrap();

    let answer = provider.post("/faults", &[("fault", "rotate")]).await;
    assert_eq!(answer.refusal(), (500, "server_error".to_owned()));
    assert_eq!(answer.text("error_description"), "something failed here");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(provider.jwks(), before);
    assert_eq!(provider.post_as("orders", SECRET, "/token", &[CREDENTIALS]).await.status, StatusCode::OK);
}
