//! Several processes of one provider, on a database that they share.

use std::collections::BTreeSet;

use super::{browser::*, databases::Databases, *};
use crate::{clock::Clock, issuer::keys::SHARED_INTERVAL};

/// With a login each time.
const OFFLINE: [(&str, &str); 2] = [("scope", "openid offline_access stock:read"), ("prompt", "login")];

async fn all() -> [Databases; 2] {
    [Databases::sqlite(), Databases::postgres().await]
}

fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

fn kids(provider: &Provider) -> BTreeSet<String> {
    let set: Value = serde_json::from_str(&provider.jwks()).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn at(config: &Config, clock: Clock) -> Provider {
    Provider::open_with(config, &Tasks::new(), clock).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_processes_that_use_a_code_or_a_refresh_token_at_once_one_wins_and_keeps_nothing() {
    for databases in all().await {
        let config = people().with_store(databases.new_url());
        let (one, other) = (opened(&config).await, opened(&config).await);
        let browser = Browser::new(&one);
        let mut both_lost = 0;
        for _ in 0..6 {
            let code = browser.code(&OFFLINE).await;
            let answers = tokio::join!(one.redeem(&code, &[]), other.redeem(&code, &[]));
            assert_none_is_left(&one, [answers.0, answers.1], &mut both_lost).await;

            let first = one.redeem(&browser.code(&OFFLINE).await, &[]).await.text("refresh_token");
            let answers = tokio::join!(one.refreshed(&first, &[]), other.refreshed(&first, &[]));
            assert_none_is_left(&other, [answers.0, answers.1], &mut both_lost).await;
        }
        // The one that comes second ends what the first has, perhaps before that one is done.
        assert!(both_lost < 12, "nobody ever wins");
    }
}

async fn assert_none_is_left(provider: &Provider, answers: [Answer; 2], both_lost: &mut u32) {
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::OK);
    assert!(won.len() <= 1, "{answers:?}");
    *both_lost += u32::from(won.is_empty());
    for answer in lost {
        assert_eq!(answer.refusal(), invalid_grant());
    }
    for answer in won {
        assert_eq!(provider.refreshed(&answer.text("refresh_token"), &[]).await.refusal(), invalid_grant());
        assert_eq!(provider.userinfo(&answer.text("access_token")).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_restart_keeps_logins_consents_refresh_tokens_and_keys() {
    for databases in all().await {
        let mut config = people().with_store(databases.new_url());
        let before = opened(&config).await;
        let browser = Browser::new(&before);
        let first = before.redeem(&browser.code(&OFFLINE).await, &[]).await;
        let url = request(&[("client_id", "app")]);
        let page = browser.get(&url).await;
        Back::of(&browser.submit(&url, &page, &[("action", "allow")]).await).field("code");
        let (keys, cookies) = (kids(&before), browser.cookies());
        drop(before);
        let after = opened(&config).await;
        assert_eq!(kids(&after), keys);
        assert_eq!(after.userinfo(&first.text("access_token")).await.status, StatusCode::OK);
        let second = after.refreshed(&first.text("refresh_token"), &[]).await;
        assert_eq!(second.status, StatusCode::OK, "{second:?}");
        let browser = Browser::with_cookies(&after, cookies);
        // No page in between: neither login nor consent.
        Back::of(&browser.get(&url).await).field("code");
        assert_eq!(after.refreshed(&first.text("refresh_token"), &[]).await.refusal(), invalid_grant());
        assert_eq!(after.refreshed(&second.text("refresh_token"), &[]).await.refusal(), invalid_grant());
        // A provider that has lost its database has lost them all.
        config.store.url = Some(databases.new_url().into());
        let other = opened(&config).await;
        assert!(kids(&other).is_disjoint(&keys));
        assert_eq!(other.refreshed(&second.text("refresh_token"), &[]).await.refusal(), invalid_grant());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_share_their_keys_and_change_them_once() {
    for databases in all().await {
        let mut config = config().with_store(databases.new_url());
        config.keys.rotation = mainstay_core::config::Duration::from_secs(1000);
        config.keys.ahead = mainstay_core::config::Duration::from_secs(100);
        let clock = clock();
        let opening = tokio::join!(at(&config, clock), at(&config, clock), at(&config, clock));
        let all = [opening.0, opening.1, opening.2];
        let first = kids(&all[0]);
        assert_eq!(first.len(), 1);
        assert!(all.iter().all(|provider| kids(provider) == first));
        // All find at once that the next is due.
        let now = all[0].now() + 950;
        let turned = tokio::join!(all[0].0.ring.turn(now), all[1].0.ring.turn(now), all[2].0.ring.turn(now));
        assert_eq!((turned.0, turned.1, turned.2), (Ok(()), Ok(()), Ok(())));
        for provider in &all {
            provider.0.ring.turn(now).await.unwrap();
        }
        let second = kids(&all[0]);
        assert_eq!(second.len(), 2, "one is added, by whoever was first");
        assert!(all.iter().all(|provider| kids(provider) == second));
        assert!(
            all.iter()
                .all(|provider| provider.0.ring.signer(now + 50).id() == all[0].0.ring.signer(now + 50).id())
        );
        // What one process changes out of turn signs when all know it, at the latest.
        let now = now + 60;
        all[1].0.ring.rotate(now).await.unwrap();
        let before = all[1].0.ring.signer(now).id().to_owned();
        assert_eq!(all[1].0.ring.signer(now + SHARED_INTERVAL).id(), before);
        for provider in &all {
            provider.0.ring.turn(now + SHARED_INTERVAL).await.unwrap();
        }
        let signers: BTreeSet<_> = all
            .iter()
            .map(|provider| provider.0.ring.signer(now + 2 * SHARED_INTERVAL).id().to_owned())
            .collect();
        assert_eq!(signers.len(), 1);
        assert!(!signers.contains(&before) && kids(&all[2]).contains(&before));
    }
}

#[tokio::test]
async fn without_its_database_it_says_so_and_goes_on_when_it_is_back() {
    let databases = Databases::postgres().await;
    let Databases::Postgres(server) = &databases else { unreachable!() };
    let mut config = people().with_store(databases.new_url());
    config.store.timeout = mainstay_core::config::Duration::from_secs(1);
    let provider = opened(&config).await;
    let browser = Browser::new(&provider);
    let code = browser.code(&OFFLINE).await;
    let first = provider.redeem(&browser.code(&OFFLINE).await, &[]).await.text("refresh_token");
    server.kill();
    let unavailable = (503, "temporarily_unavailable".to_owned());
    assert_eq!(provider.redeem(&code, &[]).await.refusal(), unavailable);
    assert_eq!(provider.refreshed(&first, &[]).await.refusal(), unavailable);
    let back = Back::of(&browser.get(&request(&[])).await);
    assert_eq!(back.field("error"), "temporarily_unavailable");
    // What needs nothing of it goes on.
    let token = [("grant_type", "client_credentials")];
    assert_eq!(provider.post_as("orders", SECRET, "/token", &token).await.status, StatusCode::OK);
    let refused = Provider::open_with(&config, &Tasks::new(), clock()).await.unwrap_err();
    assert_eq!(refused.key, "store.url");
    server.restart().await;
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let answer = provider.refreshed(&first, &[]).await;
        if answer.status == StatusCode::OK {
            break;
        }
        assert_eq!(answer.refusal(), unavailable);
        assert!(tokio::time::Instant::now() < end, "it never comes back");
    }
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_refused_and_left_alone() {
    let databases = Databases::postgres().await;
    let Databases::Postgres(server) = &databases else { unreachable!() };
    let config = config().with_store(server.url("postgres"));
    drop(opened(&config).await);
    for content in [
        "",
        "{}",
        "{\"keys\": []}",
        r#"{"keys": [{"algorithm": "ES256", "signs_from": 1, "pkcs8": "AAAA"}]}"#,
    ] {
        let change = format!("UPDATE mainstay_idp_records SET content = '{content}' WHERE kind = 'keys'");
        server.sql("postgres", &change);
        let refused = Provider::open(&config, &Tasks::new()).await.unwrap_err();
        assert_eq!(refused.key, "store.url", "{refused}");
        let after = server.sql("postgres", "SELECT content FROM mainstay_idp_records WHERE kind = 'keys'");
        assert_eq!(after, content);
    }
}
