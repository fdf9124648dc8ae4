//! Processes that know each other by gossip alone cannot hear each other for a while.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay::{
    Client,
    axum::http::Method,
    client::Config,
    discovery::{self, Health, Registry, Resolve as _, registry::Kind},
    task::Tasks,
};
use tokio::{net::UdpSocket, task::JoinHandle, time::timeout};

use super::{
    CALM,
    fleet::{Fleet, Settings, free},
    load::Load,
};
use crate::harness::PATIENCE;

/// What the datagrams to one process go through.
struct Radio {
    /// Where the others reach the process.
    advertised: SocketAddr,
    /// Where it is.
    real: SocketAddr,
    deaf_to: Arc<Mutex<HashSet<SocketAddr>>>,
    carrying: JoinHandle<()>,
}

impl Radio {
    async fn start() -> Self {
        let real = free(Ipv4Addr::LOCALHOST);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let advertised = socket.local_addr().unwrap();
        let deaf_to: Arc<Mutex<HashSet<SocketAddr>>> = Arc::default();
        let told = deaf_to.clone();
        let carrying = tokio::spawn(async move {
            let mut datagram = [0; 2048];
            loop {
                // An error is that of a peer that is gone.
                let Ok((length, from)) = socket.recv_from(&mut datagram).await else { continue };
                if !told.lock().unwrap().contains(&from) {
                    let _ = socket.send_to(&datagram[..length], real).await;
                }
            }
        });
        Self { advertised, real, deaf_to, carrying }
    }

    fn settings(&self, seed: &Self) -> Vec<String> {
        vec![
            "discovery.registry=gossip".to_owned(),
            "discovery.gossip.interval=100ms".to_owned(),
            format!("discovery.gossip.address={}", self.real),
            format!("discovery.gossip.advertise={}", self.advertised),
            format!("discovery.gossip.seeds=[\"{}\"]", seed.advertised),
        ]
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

/// Nobody of the one side hears anybody of the other.
fn cut(one: &[&Radio], other: &[&Radio]) {
    for (radio, deaf_to) in
        one.iter().flat_map(|a| other.iter().flat_map(move |b| [(*a, b.real), (*b, a.real)]))
    {
        radio.deaf_to.lock().unwrap().insert(deaf_to);
    }
}

fn heal(radios: &[&Radio]) {
    radios.iter().for_each(|radio| radio.deaf_to.lock().unwrap().clear());
}

/// The client as a member, and what it knows.
struct Listener {
    registry: Arc<dyn Registry>,
    client: Client,
    _tasks: Tasks,
}

impl Listener {
    async fn start(radio: &Radio, seed: &Radio) -> Self {
        let mut config = discovery::Config::default();
        config.registry = Some(Kind::Gossip);
        config.gossip.address = radio.real;
        config.gossip.advertise = Some(radio.advertised);
        config.gossip.seeds = vec![seed.advertised.into()];
        config.gossip.interval = Duration::from_millis(100).into();
        let tasks = Tasks::new();
        let registry = config.connect(&tasks).await.unwrap().unwrap();
        let client = Client::builder().config(Config::default()).build(registry.clone());
        Self { registry, client, _tasks: tasks }
    }

    /// Waits until it knows so many endpoints that serve.
    async fn until_serving(&self, count: usize) {
        let watch = self.registry.resolve(&"specimen".parse().unwrap());
        let serving = || watch.snapshot().iter().filter(|it| it.health() == Health::Serving).count();
        let wait = async {
            let mut seen = watch.version();
            while serving() != count {
                seen = watch.changed_since(seen).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("not {count}: {:?}", watch.snapshot());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_gossip_is_partitioned_no_request_fails_and_after_it_all_is_known() {
    let radios = [Radio::start().await, Radio::start().await, Radio::start().await, Radio::start().await];
    let [own, first, second, late] = &radios;
    let fleet = |set| Fleet::with(1, Settings { set, ..Settings::default() });
    let one = fleet(first.settings(first)).await;
    let mut other = fleet(second.settings(first)).await;
    let listener = Listener::start(own, first).await;
    listener.until_serving(2).await;
    let load = Load::on(&listener.client);
    load.succeed(CALM).await;

    // The client hears nobody: all are failing, as far as it knows, and serve all the same.
    cut(&[own], &[first, second, late]);
    listener.until_serving(0).await;
    load.succeed(CALM).await;
    let third = fleet(late.settings(first)).await;
    heal(&[own, first, second, late]);
    listener.until_serving(3).await;

    // One copy is cut off from all the others; they have it for failing, and do well without.
    cut(&[second], &[own, first, late]);
    listener.until_serving(2).await;
    load.succeed(CALM).await;
    // And dies before anybody hears of it again.
    other.kill(0).await;
    load.succeed(CALM).await;
    heal(&[own, first, second, late]);
    other.copies[0].address = free(Ipv4Addr::LOCALHOST);
    other.start_all().await;
    listener.until_serving(3).await;
    load.succeed(CALM).await;

    let report = load.end().await;
    let books = one.books().and(other.books()).and(third.books());
    report.check(&books);
    report.none_failed(&Method::GET);
    report.few_failed(&Method::POST, 2);
    for copy in one.copies.iter().chain(&other.copies).chain(&third.copies) {
        assert!(books.of(copy.address) > 0, "{} was never called", copy.address);
    }
}
