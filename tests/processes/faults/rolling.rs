//! Everything is replaced, one process after the other, under load: both tiers of a chain of services, the process that
//! the others were told to begin with included.

use std::net::{Ipv4Addr, SocketAddr};

use mainstay::{
    Client,
    axum::http::Method,
    discovery::{self, Resolve as _, registry::Kind},
    task::Tasks,
};
use tokio::time::timeout;

use super::{
    CALM,
    fleet::{Fleet, Settings, free},
    load::Load,
};
use crate::harness::PATIENCE;

fn settings(meeting_point: SocketAddr) -> Vec<String> {
    vec![
        "discovery.registry=gossip".to_owned(),
        format!("discovery.gossip.address={meeting_point}"),
        format!("discovery.gossip.seeds=[\"{meeting_point}\"]"),
        // Time for the others to notice; the default is 3 s.
        "drain.delay=500ms".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_everything_fails_no_request() {
    let meeting_point = free(Ipv4Addr::LOCALHOST);
    let set = settings(meeting_point);
    let mut back =
        Fleet::with(2, Settings { name: Some("dependency"), set: set.clone(), ..Settings::default() }).await;
    let mut front = Fleet::with(2, Settings { set, ..Settings::default() }).await;

    let mut config = discovery::Config::default();
    config.registry = Some(Kind::Gossip);
    config.gossip.address = meeting_point;
    config.gossip.seeds = vec![meeting_point.into()];
    let tasks = Tasks::new();
    let registry = config.connect(&tasks).await.unwrap().unwrap();
    let client = Client::new(registry.clone());
    let watch = registry.resolve(&"specimen".parse().unwrap());
    let known = async {
        let mut seen = watch.version();
        while watch.snapshot().len() < 2 {
            seen = watch.changed_since(seen).await;
        }
    };
    timeout(PATIENCE, known).await.unwrap();

    let load = Load::through(&client, "http://specimen/relay");
    load.succeed(CALM).await;
    for _ in 0..2 {
        for fleet in [&mut back, &mut front] {
            fleet.add(free(Ipv4Addr::LOCALHOST)).await;
            load.succeed(CALM / 2).await;
            fleet.retire().await;
            load.succeed(CALM / 2).await;
        }
    }
    let report = load.end().await;
    let books = back.books();
    report.check(&books);
    report.none_failed(&Method::GET);
    report.none_failed(&Method::POST);
    for copy in &back.copies {
        assert!(books.of(copy.address) > 0, "{} was never called", copy.address);
    }
}
