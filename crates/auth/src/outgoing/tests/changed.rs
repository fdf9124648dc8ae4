//! What is configured anew while the process runs.

use super::*;

fn config() -> Config {
    Config::new(registration())
        .with_target("stock", Target::client_credentials("stock"))
        .with_target("prices", Target::client_credentials("prices"))
}

async fn shown_to(tokens: &Tokens, service: &str) -> Option<String> {
    match tokens.credential(service, Deadline::after(Duration::from_secs(10))) {
        Credential::None => None,
        Credential::Ready(shown) => Some(shown.to_str().unwrap().to_owned()),
        Credential::Awaited(awaited) => Some(awaited.await.unwrap().unwrap().to_str().unwrap().to_owned()),
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_were_given_out_follow_and_what_is_the_same_stays() {
    let script = Script::lasting(3600);
    let issuers = issuers(&script, &config(), &Tasks::new());
    let tokens = issuers.of("orders");
    assert_eq!(shown_to(&tokens, "stock").await.unwrap(), "Bearer stock..0");
    assert_eq!(shown_to(&tokens, "prices").await.unwrap(), "Bearer prices..1");
    assert_eq!(shown_to(&tokens, "bills").await, None);

    let mut new = config().with_target("bills", Target::client_credentials("bills"));
    new.targets.get_mut("prices").unwrap().audience = Some("new-prices".to_owned());
    issuers.reconfigure(&new).unwrap();
    assert_eq!(shown_to(&tokens, "stock").await.unwrap(), "Bearer stock..0", "nothing has changed for it");
    assert_eq!(shown_to(&tokens, "prices").await.unwrap(), "Bearer new-prices..2");
    assert_eq!(shown_to(&tokens, "bills").await.unwrap(), "Bearer bills..3");

    new.targets.remove("stock");
    issuers.reconfigure(&new).unwrap();
    assert_eq!(shown_to(&tokens, "stock").await, None);
    issuers.reconfigure(&Config::default()).unwrap();
    assert!(tokens.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_secret_is_used_at_once() {
    let script = Script::lasting(3600);
    let exchanged = Target::token_exchange("prices");
    let config = config().with_target("prices", exchanged);
    let issuers = issuers(&script, &config, &Tasks::new());
    let tokens = issuers.of("orders");
    let show = async || {
        within("alice", async { (shown_to(&tokens, "stock").await, shown_to(&tokens, "prices").await) }).await
    };
    let before = show().await;
    assert_eq!(show().await, before);
    let mut new = config.clone();
    new.client = Some(registration().with_secret("an0ther"));
    issuers.reconfigure(&new).unwrap();
    let after = show().await;
    assert!(after.0 != before.0 && after.1 != before.1, "{before:?} {after:?}");
    // printf 'orders:an0ther' | base64
    let proofs: Vec<_> = script.asked().iter().map(|asked| asked.authorization.clone().unwrap()).collect();
    let (old, new) = ("Basic b3JkZXJzOnMzY3JldA==", "Basic b3JkZXJzOmFuMHRoZXI=");
    assert_eq!(proofs, [old, old, new, new]);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_used_changes_nothing() {
    let script = Script::lasting(3600);
    let issuers = issuers(&script, &config(), &Tasks::new());
    let tokens = issuers.of("orders");
    shown_to(&tokens, "stock").await.unwrap();
    let mut wrong = config();
    wrong.targets.get_mut("stock").unwrap().cache = 0;
    wrong.targets.remove("prices");
    assert_eq!(issuers.reconfigure(&wrong).unwrap_err().key, "outgoing.targets.stock.cache");
    assert_eq!(shown_to(&tokens, "stock").await.unwrap(), "Bearer stock..0");
    assert_eq!(shown_to(&tokens, "prices").await.unwrap(), "Bearer prices..1");
}

#[tokio::test(start_paused = true)]
async fn what_no_call_shows_any_more_is_not_kept_current() {
    let script = Script::lasting(100);
    let issuers = issuers(&script, &config(), &Tasks::new());
    let tokens = issuers.of("orders");
    shown_to(&tokens, "stock").await.unwrap();
    let mut new = config();
    new.targets.remove("stock");
    issuers.reconfigure(&new).unwrap();
    assert_eq!(issuers.current().made.own.len(), 1, "that for prices");
    drop(tokens);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(script.asked().len(), 1);
    issuers.reconfigure(&config()).unwrap();
    assert!(issuers.current().made.own.is_empty(), "nobody is there to show any");
    let _bills = issuers.of("bills");
    assert_eq!(issuers.current().given.len(), 1, "who is gone is forgotten");
}
