//! What an outage at the end of a chain of services gets on top of what was asked for.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};
use futures_util::{StreamExt as _, stream};
use mainstay_client::{Client, Config, discovery::fixed::Fixed};
use mainstay_core::middleware::context::{self, ContextLayer};
use support::Server;

const CALLS: usize = 2000;

/// A service that asks the next one, and hands on what goes wrong with it.
async fn tier(next: &Server, config: Config) -> (Server, Client) {
    let client = client_of(next, config);
    let asking = client.clone();
    let ask = async move || -> mainstay_core::Result<String> {
        Ok(asking.get("http://next/").send().await?.error_for_status()?.text().await?)
    };
    let router = Router::new().route("/", get(ask)).layer(ContextLayer::new(context::Config::default()));
    (Server::start(router).await, client)
}

fn client_of(next: &Server, config: Config) -> Client {
    Client::builder().config(config).build(Fixed::new().with("next", [next.endpoint()]).unwrap())
}

/// Attempts at the last of three services in an outage, for each call to the first.
async fn amplification(config: &Config) -> f64 {
    let (down, attempts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let answer = {
        let (down, attempts) = (down.clone(), attempts.clone());
        async move || {
            attempts.fetch_add(1, Ordering::Relaxed);
            match down.load(Ordering::Relaxed) {
                true => Err(StatusCode::SERVICE_UNAVAILABLE),
                false => Ok("fine"),
            }
        }
    };
    let last = Server::start(Router::new().route("/", get(answer))).await;
    let (middle, _) = tier(&last, config.clone()).await;
    let (first, _) = tier(&middle, config.clone()).await;
    let client = client_of(&first, config.clone());
    let call = async |healthy: bool| {
        let status = client.get("http://next/").send().await.unwrap().status();
        assert_eq!(status, if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE });
    };
    // Long enough to save up all that can be saved up, in all three of them.
    stream::iter(0..600).for_each_concurrent(16, |_| call(true)).await;
    assert_eq!(attempts.swap(0, Ordering::Relaxed), 600);
    down.store(true, Ordering::Relaxed);
    stream::iter(0..CALLS).for_each_concurrent(16, |_| call(false)).await;
    attempts.load(Ordering::Relaxed) as f64 / CALLS as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_tiers_that_all_repeat_add_a_fifth_at_most_to_an_outage() {
    let mut config = Config::default();
    config.retry.statuses = vec![503];
    config.retry.backoff = std::time::Duration::from_millis(1).into();
    let found = amplification(&config).await;
    // Three tries in each of three tiers would be 27.
    assert!((1.0..=1.2).contains(&found), "{found}");
    assert!(found > 1.0, "something was repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_nothing_is_added_for_an_answer() {
    assert_eq!(amplification(&Config::default()).await, 1.0);
}
