use tokio::time::{Instant, advance, sleep};

use super::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_for_with_the_first_call_and_by_what_the_target_says() {
    let script = Script::lasting(3600);
    let mut target = Target::client_credentials("stock").with_scopes(["stock:read", "stock:write"]);
    target.resource = Some("https://stock.example/".to_owned());
    let tokens = to_stock(&script, target);
    sleep(seconds(10)).await;
    assert_eq!(script.asked().len(), 0, "nobody called yet");
    assert_eq!(shown(&tokens).await.unwrap().unwrap(), "Bearer stock..0");

    let [asked] = script.asked().try_into().ok().unwrap();
    assert_eq!(asked.url, "http://127.0.0.1:1/token", "as the metadata says");
    let expected = [
        ("grant_type", "client_credentials"),
        ("audience", "stock"),
        ("resource", "https://stock.example/"),
        ("scope", "stock:read stock:write"),
    ];
    assert_eq!(asked.form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    // printf 'orders:s3cret' | base64
    assert_eq!(asked.authorization.unwrap(), "Basic b3JkZXJzOnMzY3JldA==");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_for_all_and_not_at_all_for_others() {
    let script = Script::lasting(3600);
    script.takes(seconds(1));
    let target = || Target::client_credentials("stock");
    let config = Config::new(registration())
        .with_target("stock", target())
        .with_target("also", target())
        .with_target("closed", Target::default());
    let tokens = opened(&script, &config);
    let calls = (0..100).map(|_| {
        let tokens = tokens.clone();
        tokio::spawn(async move { shown(&tokens).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().unwrap().unwrap(), "Bearer stock..0");
    }
    let deadline = Deadline::after(seconds(1));
    assert!(matches!(tokens.credential("also", deadline), Credential::Ready(_)), "the same token");
    for other in ["closed", "unheard-of", "stock.example", ""] {
        assert!(matches!(tokens.credential(other, deadline), Credential::None), "{other}");
    }
    sleep(seconds(60)).await;
    assert_eq!((script.asked().len(), script.most_under_way()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_in_use_is_replaced_ahead_of_its_end_and_nobody_waits() {
    let script = Script::lasting(100);
    let tokens = to_stock(&script, Target::client_credentials("stock"));
    shown(&tokens).await.unwrap();
    script.takes(seconds(5));
    for _ in 0..1000 {
        sleep(seconds(1)).await;
        assert!(ready(&tokens).is_some(), "after {} fetches", script.asked().len());
    }
    let asked = script.asked();
    assert!((12..=18).contains(&asked.len()), "{}", asked.len());
    for pair in asked.windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart >= seconds(59) && apart <= seconds(86), "{apart:?}");
    }
    assert_eq!(script.most_under_way(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_uses_is_let_go_and_fetched_anew_by_the_next_call() {
    let script = Script::lasting(1000);
    let tokens = to_stock(&script, Target::client_credentials("stock"));
    shown(&tokens).await.unwrap();
    sleep(seconds(10_000)).await;
    assert_eq!(script.asked().len(), 2, "the first was used once, the second never");
    assert!(ready(&tokens).is_none(), "it has expired");
    assert_eq!(shown(&tokens).await.unwrap().unwrap(), "Bearer stock..2");
    // The one after it is used when it was let go already: it is replaced behind the back of that call.
    sleep(seconds(1569)).await;
    assert_eq!(script.asked().len(), 4);
    assert!(ready(&tokens).is_some());
    sleep(seconds(32)).await;
    assert_eq!(script.asked().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_known_token_stays_in_use_until_its_end_while_the_issuer_is_away() {
    let script = Script::lasting(1000);
    let tokens = to_stock(&script, Target::client_credentials("stock"));
    shown(&tokens).await.unwrap();
    script.is_down();
    for second in 0..969 {
        sleep(seconds(1)).await;
        assert!(ready(&tokens).is_some(), "{second}");
    }
    let tries = script.metadata() / 2;
    assert!((8..=40).contains(&tries), "backed off: {tries}");
    sleep(seconds(31)).await;
    let (kind, text) = shown(&tokens).await.unwrap_err();
    assert_eq!(kind, Kind::Unavailable);
    assert!(text.contains("down"), "{text}");
    script.recovers();
    sleep(seconds(40)).await;
    assert!(shown(&tokens).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn while_the_issuer_is_away_calls_fail_soon_and_it_is_asked_more_and_more_seldom() {
    let script = Script::default();
    script.is_down();
    let tokens = to_stock(&script, Target::client_credentials("stock"));
    let begun = Instant::now();
    let mut failed = 0;
    while begun.elapsed() < seconds(300) {
        let call = Instant::now();
        let (kind, text) = shown(&tokens).await.unwrap_err();
        assert_eq!(kind, Kind::Unavailable);
        assert!(text.contains("no metadata") && text.contains("down"), "{text}");
        assert!(call.elapsed() <= seconds(1), "{:?}", call.elapsed());
        sleep(Duration::from_millis(100)).await;
        failed += 1;
    }
    // Two documents a try.
    let tries = script.metadata() / 2;
    assert!(failed > 1000 && (10..=24).contains(&tries), "{failed} calls, {tries} tries");
    // Nobody calls: nobody is asked.
    sleep(seconds(60)).await;
    let before = script.metadata();
    sleep(seconds(600)).await;
    assert_eq!(script.metadata(), before);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_it_has_time_and_the_fetch_goes_on() {
    let script = Script::lasting(3600);
    script.takes(seconds(4));
    let tokens = to_stock(&script, Target::client_credentials("stock"));
    let begun = Instant::now();
    let (kind, _) = shown_within(&tokens, seconds(1)).await.unwrap_err();
    assert_eq!((kind, begun.elapsed()), (Kind::Unavailable, seconds(1)));
    let gives_up = tokio::time::timeout(seconds(1), shown(&tokens)).await;
    assert!(gives_up.is_err());
    assert_eq!(shown(&tokens).await.unwrap().unwrap(), "Bearer stock..0");
    assert_eq!(begun.elapsed(), seconds(4));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_callee_refuses_is_replaced_but_not_again_and_again() {
    let script = Script::lasting(3600);
    let tokens = to_stock(&script, Target::client_credentials("stock"));
    shown(&tokens).await.unwrap();
    let first = ready(&tokens).unwrap();
    assert!(!tokens.refused("stock", &first), "it is new: another one would be refused too");
    assert!(ready(&tokens).is_some());
    advance(seconds(6)).await;
    assert!(!tokens.refused("other", &first));
    assert!(tokens.refused("stock", &first));
    assert!(ready(&tokens).is_none());
    assert_eq!(shown(&tokens).await.unwrap().unwrap(), "Bearer stock..1");
    assert!(tokens.refused("stock", &first), "a call with the old one may be made again");
    assert!(ready(&tokens).is_some(), "but the new one stays");
    for _ in 0..1000 {
        let current = ready(&tokens).unwrap();
        assert!(!tokens.refused("stock", &current));
    }
    assert_eq!(script.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn services_of_one_process_are_known_by_their_own_clients() {
    let script = Script::lasting(3600);
    let other = Registration::new(ISSUER, "web").with_secret("other");
    let config = Config::default()
        .with_client("web", other)
        .with_client("orders", registration())
        .with_target("stock", Target::client_credentials("stock"));
    let issuers = issuers(&script, &config, &Tasks::new());
    for service in ["orders", "web", "orders"] {
        shown(&issuers.of(service)).await.unwrap().unwrap();
    }
    let by: Vec<_> = script.asked().into_iter().map(|asked| asked.authorization.unwrap()).collect();
    assert_eq!(by.len(), 2, "two clients, two tokens");
    assert_ne!(by[0], by[1]);
    let (kind, text) = shown(&issuers.of("stranger")).await.unwrap_err();
    assert_eq!(kind, Kind::Internal);
    assert!(text.contains("add `auth.outgoing.clients.stranger`"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn with_the_last_credentials_what_keeps_tokens_current_ends() {
    let (script, tasks) = (Script::lasting(100), Tasks::new());
    let config = Config::new(registration()).with_target("stock", Target::client_credentials("stock"));
    let issuers = issuers(&script, &config, &tasks);
    let tokens = issuers.of("orders");
    shown(&tokens).await.unwrap();
    drop(issuers);
    assert_eq!(tasks.len(), 1);
    drop(tokens);
    tokio::task::yield_now().await;
    assert_eq!(tasks.len(), 0);
}
