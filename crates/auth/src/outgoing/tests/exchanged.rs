use std::collections::BTreeSet;

use tokio::time::{Instant, advance, sleep};

use super::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn the_token_of_the_request_is_exchanged_once_for_the_target() {
    let script = Script::lasting(60);
    script.takes(seconds(1));
    let tokens = to_stock(&script, Target::token_exchange("stock"));
    let calls = async { tokio::join!(shown(&tokens), shown(&tokens)) };
    let (one, two) = within("alice", calls).await;
    assert_eq!(one.unwrap().unwrap(), "Bearer stock.alice.0");
    assert_eq!(two.unwrap().unwrap(), "Bearer stock.alice.0");
    assert_eq!(within("bob", shown(&tokens)).await.unwrap().unwrap(), "Bearer stock.bob.1");
    assert!(within("alice", async { ready(&tokens) }).await.is_some(), "in another request");

    let asked = script.asked();
    assert_eq!(asked.len(), 2);
    let of = |name: &str| asked[0].form[name].as_str();
    assert_eq!(of("grant_type"), "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!((of("subject_token"), of("audience")), ("alice", "stock"));
    assert_eq!(of("subject_token_type"), "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(of("requested_token_type"), "urn:ietf:params:oauth:token-type:access_token");
    assert!(!asked[0].form.contains_key("actor_token"));

    advance(seconds(55)).await;
    let renewed = within("alice", shown(&tokens)).await.unwrap().unwrap();
    assert_eq!(renewed, "Bearer stock.alice.2", "it had nearly expired");
}

#[tokio::test(start_paused = true)]
async fn outside_of_a_request_and_without_a_token_nothing_is_shown() {
    let script = Script::lasting(60);
    for target in [Target::token_exchange("stock"), Target::forward()] {
        let tokens = to_stock(&script, target);
        assert_eq!(shown(&tokens).await, Ok(None));
        assert_eq!(RequestContext::new().scope(shown(&tokens)).await, Ok(None));
    }
    assert_eq!(script.asked().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_is_remembered_no_longer_than_was_said() {
    let script = Script::lasting(3600);
    let tokens = to_stock(&script, Target::token_exchange("stock"));
    for _ in 0..10 {
        within("alice", shown(&tokens)).await.unwrap();
        advance(seconds(60)).await;
    }
    assert_eq!(script.asked().len(), 2, "five minutes, whatever the issuer says");
}

#[tokio::test(start_paused = true)]
async fn the_own_token_goes_along_where_that_is_said() {
    let script = Script::lasting(3600);
    let mut target = Target::token_exchange("stock");
    target.actor = true;
    let tokens = to_stock(&script, target);
    within("alice", shown(&tokens)).await.unwrap();
    within("bob", shown(&tokens)).await.unwrap();
    let asked = script.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].form["grant_type"], "client_credentials");
    for exchange in &asked[1..] {
        assert_eq!(exchange.form["actor_token"], "..0");
        assert_eq!(exchange.form["actor_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_exchanged_is_the_fault_of_the_caller_and_remembered_for_a_moment() {
    let script = Script::lasting(60);
    let tokens = to_stock(&script, Target::token_exchange("stock"));
    script.says(400, r#"{"error":"invalid_request","error_description":"no\nsuch token"}"#);
    for _ in 0..100 {
        let (kind, text) = within("alice", shown(&tokens)).await.unwrap_err();
        assert_eq!(kind, Kind::PermissionDenied);
        assert!(text.contains("invalid_request nosuch token"), "{text}");
    }
    assert_eq!(script.asked().len(), 1);
    script.recovers();
    assert!(within("bob", shown(&tokens)).await.is_ok(), "it is about that token alone");
    advance(seconds(6)).await;
    assert!(within("alice", shown(&tokens)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn while_the_issuer_is_away_it_is_left_alone_and_known_tokens_stay() {
    let script = Script::lasting(3600);
    let tokens = to_stock(&script, Target::token_exchange("stock"));
    within("alice", shown(&tokens)).await.unwrap();
    script.is_down();
    for number in 0..1000 {
        let token = format!("caller{number}");
        let (kind, _) = within(&token, shown(&tokens)).await.unwrap_err();
        assert_eq!(kind, Kind::Unavailable);
        assert!(within("alice", async { ready(&tokens) }).await.is_some());
        sleep(Duration::from_millis(100)).await;
    }
    // One asked for a token, the others for where that is.
    let tries = script.asked().len() - 2 + (script.metadata() - 1) / 2;
    assert!((6..=14).contains(&tries), "{tries} in 100 s");
    script.recovers();
    sleep(seconds(40)).await;
    assert!(within("bob", shown(&tokens)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_exchanged_at_once_and_one_that_waits_too_long_fails() {
    let script = Script::lasting(3600);
    script.takes(seconds(2));
    let tokens = to_stock(&script, Target::token_exchange("stock"));
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let tokens = tokens.clone();
            tokio::spawn(async move { within(&format!("caller{number}"), shown(&tokens)).await })
        })
        .collect();
    let begun = Instant::now();
    let mut kinds = BTreeSet::new();
    let mut served = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => served += 1,
            Err((kind, _)) => {
                kinds.insert(kind.grpc_code());
            }
        }
    }
    assert_eq!(script.most_under_way(), 32);
    assert_eq!(served, 96, "three rounds of two seconds begin within five");
    assert_eq!(kinds, [Kind::Unavailable.grpc_code()].into());
    assert_eq!(begun.elapsed(), seconds(6));
}

#[tokio::test(start_paused = true)]
async fn what_a_callee_refuses_is_exchanged_anew_unless_it_is_new() {
    let script = Script::lasting(3600);
    let tokens = to_stock(&script, Target::token_exchange("stock"));
    within("alice", async {
        shown(&tokens).await.unwrap();
        let first = ready(&tokens).unwrap();
        assert!(!tokens.refused("stock", &first));
        advance(seconds(6)).await;
        assert!(tokens.refused("stock", &first));
        assert_eq!(shown(&tokens).await.unwrap().unwrap(), "Bearer stock.alice.1");
        assert!(tokens.refused("stock", &first), "a call with the old one may be made again");
        assert!(ready(&tokens).is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forwarding_shows_the_token_of_the_request_and_asks_nobody() {
    let script = Script::default();
    let tokens = to_stock(&script, Target::forward());
    assert_eq!(within("alice", shown(&tokens)).await.unwrap().unwrap(), "Bearer alice");
    let shown = within("alice", async { ready(&tokens) }).await.unwrap();
    assert!(!tokens.refused("stock", &shown));
    assert_eq!((script.asked().len(), script.metadata()), (0, 0));
}
