//! Endpoints that go, come back, or are slow, under steady load.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use mainstay_client::Client;
use mainstay_discovery::Protocol;
use support::{Server, client_of};

const RESTARTS: usize = 50;
const CALLERS: usize = 8;

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    /// Waits until so many more requests were answered, or a caller failed.
    async fn progress(&self, requests: usize) {
        let until = self.answered.load(Ordering::SeqCst) + requests;
        while self.answered.load(Ordering::SeqCst) < until && !self.stop.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn call(client: Client, load: Arc<Load>) -> Result<(), String> {
    while !load.stop.load(Ordering::SeqCst) {
        let answer = async {
            let response = client.get("http://stock/").send().await?.error_for_status()?;
            response.text().await
        };
        match answer.await {
            Ok(text) => assert_eq!(text, "ok"),
            Err(error) => {
                load.stop.store(true, Ordering::SeqCst);
                return Err(mainstay_core::error::Report::new(&error).to_string());
            }
        }
        load.answered.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

fn router() -> Router {
    let answer = || async {
        // So that a drain meets requests under way.
        tokio::time::sleep(Duration::from_millis(2)).await;
        "ok"
    };
    Router::new().route("/", get(answer))
}

async fn restart_under_load(protocol: Protocol) {
    let mut servers = [Server::start(router()).await, Server::start(router()).await];
    let client = client_of(servers.iter().map(|server| server.endpoint().with_protocol(protocol)));
    let load = Arc::new(Load::default());
    let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(call(client.clone(), load.clone()))).collect();

    for restart in 0..RESTARTS {
        load.progress(20).await;
        if load.stop.load(Ordering::SeqCst) {
            break;
        }
        let server = &mut servers[restart % 2];
        let address = server.address;
        let next = Server::start(Router::new()).await;
        std::mem::replace(server, next).drain().await;
        // Down for a while, so that requests meet its closed port.
        load.progress(20).await;
        let again = Server::start_at(address, router()).await;
        std::mem::replace(&mut servers[restart % 2], again).drain().await;
        // The other one is stopped next: this one must be in use by then, or all would hang on one.
        while servers[restart % 2].accepted() == 0 && !load.stop.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    load.stop.store(true, Ordering::SeqCst);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(()));
    }
    let answered = load.answered.load(Ordering::SeqCst);
    assert!(answered >= RESTARTS * 40, "{answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_restarts_of_one_of_two_copies_lose_no_request() {
    restart_under_load(Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_over_http2() {
    restart_under_load(Protocol::Http2).await;
}

#[tokio::test]
async fn a_slow_endpoint_is_avoided() {
    let slow_calls = Arc::new(AtomicUsize::new(0));
    let counter = slow_calls.clone();
    let slow = Server::start(Router::new().route(
        "/",
        get(move || async move {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(200)).await;
            "ok"
        }),
    ))
    .await;
    let fast = Server::start(Router::new().route("/", get(|| async { "ok" }))).await;
    let client = client_of([slow.endpoint(), fast.endpoint()]);
    for _ in 0..100 {
        client.get("http://stock/").send().await.unwrap().text().await.unwrap();
    }
    // Once to find out; the machine under the test may make the fast one look slow for a moment.
    let slow_calls = slow_calls.load(Ordering::SeqCst);
    assert!((1..=10).contains(&slow_calls), "{slow_calls} of 100");
}
