//! Hedges, breakers and limits, on real connections.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::any};
use mainstay_client::{Client, Config, Error, discovery::fixed::Fixed};
use mainstay_core::{context::RequestContext, error::Kind};
use mainstay_discovery::Endpoint;
use support::{LONG, Server};
use tokio::sync::Notify;

/// Answers at once, or with a word never.
struct Moody {
    server: Server,
    is_stuck: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    given_up: Arc<Notify>,
}

impl Moody {
    async fn start() -> Self {
        let (is_stuck, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let given_up = Arc::<Notify>::default();
        let answer = {
            let (is_stuck, asked, given_up) = (is_stuck.clone(), asked.clone(), given_up.clone());
            move || {
                let is_stuck = is_stuck.load(Ordering::Relaxed);
                asked.fetch_add(1, Ordering::Relaxed);
                let given_up = given_up.clone();
                async move {
                    if is_stuck {
                        let _told = OnDrop(given_up);
                        std::future::pending::<()>().await;
                    }
                    "done"
                }
            }
        };
        let server = Server::start(Router::new().route("/", any(answer))).await;
        Self { server, is_stuck, asked, given_up }
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn client(endpoints: impl IntoIterator<Item = Endpoint>, change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config::default();
    change(&mut config);
    Client::builder().config(config).build(Fixed::new().with("stock", endpoints).unwrap())
}

async fn get(client: &Client) -> Result<StatusCode, Error> {
    let response = client.get("http://stock/").timeout(LONG).send().await?;
    let status = response.status();
    response.bytes().await?;
    Ok(status)
}

#[tokio::test]
async fn a_request_that_takes_longer_than_most_is_sent_to_another_endpoint_too() {
    let (one, two) = (Moody::start().await, Moody::start().await);
    let hedging = client([one.server.endpoint(), two.server.endpoint()], |config| {
        config.hedge.enabled = true;
    });
    for _ in 0..60 {
        get(&hedging).await.unwrap();
    }
    let before = one.asked() + two.asked();
    assert!((60..=80).contains(&before), "{before}: the budget bounds what the tail of them adds");
    one.is_stuck.store(true, Ordering::Relaxed);
    // Until one of them meets the endpoint that is stuck.
    let mut met = 0;
    while met == 0 {
        assert_eq!(tokio::time::timeout(LONG, get(&hedging)).await.unwrap().unwrap(), StatusCode::OK);
        met = one.asked();
    }
    let state = &hedging.targets()[0];
    assert!(state.hedges > 0 && state.p95_ms.is_some() && state.budget > 0, "{state:?}");
    // It is told that nobody waits any more.
    tokio::time::timeout(LONG, one.given_up.notified()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_idempotent_alone_or_a_repeat_itself_is_not_hedged() {
    let (one, two) = (Moody::start().await, Moody::start().await);
    let both = client([one.server.endpoint(), two.server.endpoint()], |config| config.hedge.enabled = true);
    let alone = client([one.server.endpoint()], |config| config.hedge.enabled = true);
    for _ in 0..60 {
        get(&both).await.unwrap();
        get(&alone).await.unwrap();
    }
    one.is_stuck.store(true, Ordering::Relaxed);
    two.is_stuck.store(true, Ordering::Relaxed);
    let asked = || one.asked() + two.asked();
    asked();
    let short = Duration::from_millis(500);
    let error = both.post("http://stock/").timeout(short).send().await.unwrap_err();
    assert!(error.is_elapsed());
    assert_eq!(asked(), 1, "a POST");
    alone.get("http://stock/").timeout(short).send().await.unwrap_err();
    assert_eq!(asked(), 1, "there is no other endpoint");
    let call = both.get("http://stock/").timeout(short).send();
    RequestContext::new().with_attempt(1).scope(call).await.unwrap_err();
    assert_eq!(asked(), 1, "a repeat");
    both.get("http://stock/").timeout(short).no_retry().send().await.unwrap_err();
    assert_eq!(asked(), 1, "tried once");
    both.post("http://stock/").timeout(short).idempotent().send().await.unwrap_err();
    assert_eq!(asked(), 2, "declared");
}

#[tokio::test]
async fn a_breaker_refuses_what_would_fail_and_says_when_to_come_back() {
    let (fails, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let answer = {
        let (fails, asked) = (fails.clone(), asked.clone());
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let status = if fails.load(Ordering::Relaxed) { 500 } else { 200 };
            async move { StatusCode::from_u16(status).unwrap() }
        }
    };
    let server = Server::start(Router::new().route("/", any(answer))).await;
    let client = client([server.endpoint()], |config| {
        config.breaker.enabled = true;
        config.breaker.min_calls = 5;
        config.breaker.probes = 1;
        config.breaker.open_for = Duration::from_secs(2).into();
    });
    for _ in 0..5 {
        assert_eq!(get(&client).await.unwrap(), 500);
    }
    let error = get(&client).await.unwrap_err();
    let Error::BreakerOpen(open) = &error else { panic!("{error:?}") };
    assert_eq!(open.service.as_str(), "stock");
    let error = mainstay_core::Error::from(error);
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.retry_after().is_some());
    assert_eq!(asked.load(Ordering::Relaxed), 5);
    assert_eq!(serde_json::to_value(client.targets()).unwrap()[0]["breaker"], "open");

    fails.store(false, Ordering::Relaxed);
    let closes = async {
        while get(&client).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, closes).await.unwrap();
    for _ in 0..20 {
        assert_eq!(get(&client).await.unwrap(), 200);
    }
}

#[tokio::test]
async fn an_endpoint_that_has_all_it_may_have_is_passed_over_and_full_ones_end_the_call() {
    let (one, two) = (Moody::start().await, Moody::start().await);
    one.is_stuck.store(true, Ordering::Relaxed);
    two.is_stuck.store(true, Ordering::Relaxed);
    let client = client([one.server.endpoint(), two.server.endpoint()], |config| {
        config.limit.max_in_flight = 1;
    });
    let held: Vec<_> =
        (0..2).map(|_| tokio::spawn(client.get("http://stock/").timeout(LONG).send())).collect();
    let arrive = async {
        while one.asked.load(Ordering::Relaxed) + two.asked.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, arrive).await.unwrap();
    assert_eq!((one.asked(), two.asked()), (1, 1));
    let error = get(&client).await.unwrap_err();
    assert!(matches!(error, Error::Overloaded(_)), "{error:?}");
    let error = mainstay_core::Error::from(error);
    assert_eq!((error.kind(), error.retry_after()), (Kind::Unavailable, Some(Duration::from_secs(1))));
    assert_eq!((one.asked(), two.asked()), (0, 0));

    for call in &held {
        call.abort();
    }
    one.is_stuck.store(false, Ordering::Relaxed);
    two.is_stuck.store(false, Ordering::Relaxed);
    let free = async {
        while get(&client).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, free).await.unwrap();
}
