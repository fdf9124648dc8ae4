//! The server of the registry is down, wiped, stopped, or cut off: who is known is called.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use mainstay::{
    Client,
    axum::http::Method,
    client::Config,
    discovery::{self, Health, Registry, Resolve as _, registry::Kind},
    task::Tasks,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    CALM,
    daemon::Daemon,
    fleet::{Fleet, Settings, free},
    load::Load,
    wire::Wire,
};
use crate::harness::PATIENCE;

/// How long an entry is kept that is not renewed.
const TTL: Duration = Duration::from_secs(4);
/// So long that every entry would have run out.
const LONG: Duration = Duration::from_secs(6);

struct World {
    server: Daemon,
    fleet: Fleet,
    /// Between the client and the server, and between the copies and the server.
    wire: Wire,
    wire_of_copies: Wire,
    registry: Arc<dyn Registry>,
    client: Client,
    _tasks: Tasks,
}

impl World {
    async fn start(kind: Kind, mut server: Daemon) -> Self {
        server.start().await;
        let wire = Wire::to(server.address()).await;
        let wire_of_copies = Wire::to(server.address()).await;
        let at = wire_of_copies.address;
        let name = kind.name();
        let of_fleet = match kind {
            Kind::Redis => format!("discovery.redis.address=redis://{at}"),
            Kind::Nats => format!("discovery.nats.servers=[\"nats://{at}\"]"),
            _ => format!("discovery.etcd.endpoints=[\"http://{at}\"]"),
        };
        let set = vec![
            format!("discovery.registry={name}"),
            format!("discovery.{name}.ttl=4s"),
            format!("discovery.{name}.timeout=1s"),
            of_fleet,
        ];
        let fleet = Fleet::with(3, Settings { set, ..Settings::default() }).await;
        let tasks = Tasks::new();
        let registry = config(kind, wire.address).connect(&tasks).await.unwrap().unwrap();
        let client = Client::builder().config(Config::default()).build(registry.clone());
        let world = Self { server, fleet, wire, wire_of_copies, registry, client, _tasks: tasks };
        world.until_serving(3).await;
        world
    }

    /// Waits until the client sees so many endpoints that serve.
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

fn config(kind: Kind, address: SocketAddr) -> discovery::Config {
    let mut config = discovery::Config::default();
    let (ttl, timeout) = (TTL.into(), Duration::from_secs(1).into());
    config.registry = Some(kind);
    match kind {
        Kind::Redis => {
            config.redis.address = format!("redis://{address}");
            (config.redis.ttl, config.redis.timeout) = (ttl, timeout);
        }
        Kind::Nats => {
            config.nats.servers = vec![format!("nats://{address}")];
            (config.nats.ttl, config.nats.timeout) = (ttl, timeout);
        }
        _ => {
            config.etcd.endpoints = vec![format!("http://{address}")];
            (config.etcd.ttl, config.etcd.timeout) = (ttl, timeout);
        }
    }
    config
}

/// The server is killed before the load begins, and stays away until it ends.
async fn down(kind: Kind, server: Daemon) {
    let mut world = World::start(kind, server).await;
    world.server.stop("KILL").await;
    let load = Load::on(&world.client);
    sleep(LONG).await;
    load.succeed(CALM).await;
    let report = load.end().await;
    report.none_failed(&Method::GET);
    report.none_failed(&Method::POST);

    // And when an endpoint is killed that nobody can strike off the list.
    let load = Load::on(&world.client);
    load.succeed(CALM).await;
    world.fleet.kill(0).await;
    load.succeed(2 * CALM).await;
    let report = report.and(load.end().await);
    report.check(&world.fleet.books());
    report.none_failed(&Method::GET);
    report.few_failed(&Method::POST, 2);
}

/// The server is killed, loses all that it had, and comes back; registrations are made anew.
async fn wiped(kind: Kind, server: Daemon) {
    let mut world = World::start(kind, server).await;
    let load = Load::on(&world.client);
    load.succeed(CALM).await;
    world.server.stop("KILL").await;
    world.server.wipe();
    world.server.start().await;
    world.fleet.add(free(std::net::Ipv4Addr::LOCALHOST)).await;
    world.fleet.until_asked(3).await;
    // All of them, for as long as what is not renewed would last.
    sleep(LONG).await;
    let report = load.end().await;
    report.check(&world.fleet.books());
    report.none_failed(&Method::GET);
    report.none_failed(&Method::POST);
    world.until_serving(4).await;
}

/// The server stops in the middle of what it does; then it is the client that is cut off, and does not see that an
/// endpoint is replaced.
async fn partitioned(kind: Kind, server: Daemon) {
    let mut world = World::start(kind, server).await;
    let load = Load::on(&world.client);
    load.succeed(CALM).await;
    world.server.signal("STOP").await;
    sleep(Duration::from_secs(3)).await;
    world.server.signal("CONT").await;
    load.succeed(CALM).await;

    world.wire.cut().await;
    world.fleet.kill(0).await;
    let killed = Instant::now();
    world.fleet.add(free(std::net::Ipv4Addr::LOCALHOST)).await;
    sleep(LONG.saturating_sub(killed.elapsed())).await;
    world.wire.heal();
    world.fleet.until_asked(3).await;
    let report = load.end().await;
    report.check(&world.fleet.books());
    report.none_failed(&Method::GET);
    report.few_failed(&Method::POST, 2);
}

/// The copies are cut off, so that their entries run out one after the other, and the client sees it.
async fn unrenewed(kind: Kind, server: Daemon) {
    let mut world = World::start(kind, server).await;
    let load = Load::on(&world.client);
    load.succeed(CALM).await;
    world.wire_of_copies.cut().await;
    // And what NATS takes to remove what is too old.
    sleep(TTL + LONG).await;
    load.succeed(CALM).await;
    world.wire_of_copies.heal();
    world.until_serving(3).await;
    let report = load.end().await;
    report.check(&world.fleet.books());
    report.none_failed(&Method::GET);
    report.none_failed(&Method::POST);
}

fn redis() -> Daemon {
    Daemon::new("redis-server", |folder, [address, _]| {
        let (port, folder) = (address.port().to_string(), folder.display().to_string());
        ["--bind", "127.0.0.1", "--port", &port, "--dir", &folder, "--appendonly", "yes"]
            .map(str::to_owned)
            .to_vec()
    })
}

fn nats() -> Daemon {
    Daemon::new("nats-server", |folder, [address, _]| {
        let (port, folder) = (address.port().to_string(), folder.display().to_string());
        ["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir", &folder]
            .map(str::to_owned)
            .to_vec()
    })
}

fn etcd() -> Daemon {
    Daemon::new("etcd", |folder, addresses: [SocketAddr; 2]| {
        let data = |folder: &Path| folder.join("data").display().to_string();
        let [client, peer] = addresses.map(|address| format!("http://{address}"));
        let options = [
            ("data-dir", data(folder)),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer.clone()),
            ("initial-cluster", format!("default={peer}")),
            ("log-level", "error".to_owned()),
        ];
        options.map(|(option, value)| format!("--{option}={value}")).to_vec()
    })
}

macro_rules! outages {
    ($registry:ident: $kind:expr) => {
        mod $registry {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn down_for_the_whole_of_a_load_it_fails_no_request() {
                down($kind, super::$registry()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn wiped_it_fails_no_request_and_is_filled_again() {
                wiped($kind, super::$registry()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn stopped_or_cut_off_it_fails_no_request() {
                partitioned($kind, super::$registry()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn cut_off_from_those_that_renew_their_entries_it_fails_no_request() {
                unrenewed($kind, super::$registry()).await;
            }
        }
    };
}

outages!(etcd: Kind::Etcd);
outages!(nats: Kind::Nats);
outages!(redis: Kind::Redis);
