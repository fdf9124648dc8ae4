//! A copy that is not ready is left alone by its callers, who find the copies by gossip; and called again when it is.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use mainstay::{
    Client,
    discovery::{Health, Resolve as _, gossip},
    task::Tasks,
};
use tokio::time::{sleep, timeout};

use crate::harness::{PATIENCE, Process, exchange, get};

async fn copy(seed: &str) -> Process {
    let seeds = format!("discovery.gossip.seeds={seed}");
    let registry = ["--set", "discovery.registry=gossip", "--set", "discovery.gossip.address=127.0.0.1:0"];
    let arguments = [&registry[..], &["--set", &seeds]].concat();
    Process::start(Path::new(env!("CARGO_BIN_EXE_specimen")), &arguments).await
}

async fn set_ready(process: &Process, ready: bool) {
    let (body, status) = (ready.to_string(), if ready { 200 } else { 503 });
    let request = format!(
        "PUT /ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(exchange(process.main, &request).await.status, 200);
    let changed = async {
        while get(process.admin, "/readyz").await.status != status {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, changed).await.unwrap();
}

/// Who answers one call.
async fn who(client: &Client) -> u32 {
    let answer = client.get("http://specimen/process").send().await.unwrap().error_for_status().unwrap();
    answer.text().await.unwrap().parse().unwrap()
}

/// Calls until `enough` calls in a row were answered as `wanted`; how long it took until the first of them.
async fn until(client: &Client, enough: usize, wanted: impl Fn(u32) -> bool) -> Duration {
    let began = Instant::now();
    let calls = async {
        let (mut in_a_row, mut since) = (0, began);
        while in_a_row < enough {
            if in_a_row == 0 {
                since = Instant::now();
            }
            in_a_row = if wanted(who(client).await) { in_a_row + 1 } else { 0 };
        }
        since - began
    };
    timeout(PATIENCE, calls).await.expect("the calls go where they should")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_not_ready_gets_no_calls_until_it_is() {
    let mut config = gossip::Config::default();
    config.address = "127.0.0.1:0".parse().unwrap();
    config.seeds.clear();
    let tasks = Tasks::new();
    let gossip = gossip::Gossip::start(&config, &tasks).await.unwrap();
    let seed = gossip.address().to_string();
    let [one, other] = [copy(&seed).await, copy(&seed).await];
    let watch = gossip.resolve(&"specimen".parse().unwrap());
    let client = Client::new(gossip);
    let listed = async {
        let mut seen = watch.version();
        while watch.snapshot().len() < 2 {
            seen = watch.changed_since(seen).await;
        }
    };
    timeout(PATIENCE, listed).await.unwrap();
    until(&client, 1, |id| id == one.id()).await;
    until(&client, 1, |id| id == other.id()).await;

    set_ready(&one, false).await;
    let took = until(&client, 200, |id| id == other.id()).await;
    println!("left alone {took:?} after /readyz said 503");
    let failing = watch.snapshot().iter().filter(|endpoint| endpoint.health() == Health::Failing).count();
    assert_eq!(failing, 1, "{watch:?}");

    // A copy that is not ready is better than none.
    set_ready(&other, false).await;
    until(&client, 1, |id| id == one.id()).await;

    set_ready(&one, true).await;
    let took = until(&client, 200, |id| id == one.id()).await;
    println!("called again {took:?} after /readyz said 200");
    set_ready(&other, true).await;
    until(&client, 1, |id| id == other.id()).await;
}
