//! How long it takes until a watch in another registry sees a change, with each registry and its real server on this
//! machine.
//!
//! ```text
//! cargo run --release -p mainstay-discovery --all-features --example change_seen
//! ```
//! Measured from the call of `register` (`withdraw`) on one connection until the watch of another has the endpoint (has
//! it no more): the write, the server's notice and the publication. One change at a time.
#![allow(clippy::print_stdout, reason = "a measurement prints its result")]
#![allow(clippy::unwrap_used, reason = "a measurement that can't go on ends")]
#![allow(clippy::disallowed_methods, reason = "it stands alone")]

use std::{path::Path, time::Duration};

use mainstay_core::task::Tasks;
use mainstay_discovery::{Config, Endpoint, ServiceName, Watch, registry::Kind};
use tokio::time::Instant;

#[path = "../tests/suite/server.rs"]
#[allow(dead_code, reason = "the tests do more to a server")]
mod server;

mod world {
    pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
}

use server::Server;

const CHANGES: u16 = 200;

#[tokio::main]
async fn main() {
    println!("| registry | registered: median | worst | withdrawn: median | worst |\n|---|---|---|---|---|");
    let mut config = Config::default();

    let etcd = Server::start(("etcd", "etcd-server"), Box::new(etcd_arguments)).await;
    config.registry = Some(Kind::Etcd);
    config.etcd.endpoints = vec![format!("http://{}", etcd.address())];
    measure("etcd", &config).await;
    drop(etcd);

    let nats = Server::start(("nats-server", "nats-server"), Box::new(nats_arguments)).await;
    config.registry = Some(Kind::Nats);
    config.nats.servers = vec![format!("nats://{}", nats.address())];
    measure("NATS", &config).await;
    drop(nats);

    let redis = Server::start(("redis-server", "redis-server"), Box::new(redis_arguments)).await;
    config.registry = Some(Kind::Redis);
    config.redis.address = format!("redis://{}", redis.address());
    measure("Redis", &config).await;
    drop(redis);
}

async fn measure(title: &str, config: &Config) {
    let tasks = Tasks::new();
    let (one, other) = (config.connect(&tasks).await.unwrap(), config.connect(&tasks).await.unwrap());
    let (one, other) = (one.unwrap(), other.unwrap());
    let name = ServiceName::new("orders").unwrap();
    let watch = other.resolve(&name);
    watch.settled().await;
    let (mut came, mut went) = (Vec::new(), Vec::new());
    for port in 1..=CHANGES {
        let began = Instant::now();
        let lease = one.register(&name, Endpoint::tcp("10.0.0.7", port)).unwrap();
        came.push(until(&watch, 1, began).await);
        // Changes that come at once are published together, a moment later.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        let (took, ()) = tokio::join!(until(&watch, 0, began), lease.withdraw());
        went.push(took);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let cell = |mut times: Vec<Duration>| {
        times.sort();
        format!(
            "{:.1} ms | {:.1} ms",
            milliseconds(times[times.len() / 2]),
            milliseconds(times[times.len() - 1])
        )
    };
    println!("| {title} | {} | {} |", cell(came), cell(went));
}

async fn until(watch: &Watch, endpoints: usize, began: Instant) -> Duration {
    let mut seen = watch.version();
    while watch.snapshot().len() != endpoints {
        seen = watch.changed_since(seen).await;
    }
    began.elapsed()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn etcd_arguments(data: &Path, ports: &[u16]) -> Vec<String> {
    let [client, peer] = [0, 1].map(|index| format!("http://127.0.0.1:{}", ports[index]));
    let options = [
        ("data-dir", data.display().to_string()),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("default={peer}")),
        ("log-level", "error".to_owned()),
    ];
    options.map(|(option, value)| format!("--{option}={value}")).to_vec()
}

fn nats_arguments(data: &Path, ports: &[u16]) -> Vec<String> {
    let (port, data) = (ports[0].to_string(), data.display().to_string());
    ["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir", &data].map(str::to_owned).to_vec()
}

fn redis_arguments(data: &Path, ports: &[u16]) -> Vec<String> {
    let (port, data) = (ports[0].to_string(), data.display().to_string());
    ["--bind", "127.0.0.1", "--port", &port, "--dir", &data].map(str::to_owned).to_vec()
}
