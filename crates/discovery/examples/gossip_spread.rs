//! How long it takes until all of N processes see that one of them has registered or withdrawn an endpoint: over real
//! sockets on loopback, with the default settings, all in one process.
//!
//! ```console
//! $ cargo run --release -p mainstay-discovery --features gossip --example gossip_spread
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures")]

use std::time::Duration;

use mainstay_core::task::Tasks;
use mainstay_discovery::{
    Endpoint, Register as _, Resolve as _, ServiceName, Watch,
    gossip::{Config, Gossip, Seed},
};
use tokio::time::Instant;

const ROUNDS: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("| processes | registered: median | worst | withdrawn: median | worst |");
    println!("|---|---|---|---|---|");
    for processes in [3, 10, 50] {
        let mut nodes = Vec::<Gossip>::new();
        for _ in 0..processes {
            let mut config = Config::default();
            config.address = "127.0.0.1:0".parse().unwrap();
            config.seeds = nodes.iter().take(2).map(|node| Seed::from(node.address())).collect();
            nodes.push(Gossip::start(&config, &Tasks::new()).await.unwrap());
        }
        let name = ServiceName::new("orders").unwrap();
        let watches: Vec<_> = nodes.iter().map(|node| node.resolve(&name)).collect();
        // Until all know each other.
        let leases: Vec<_> =
            nodes.iter().map(|node| node.register(&name, Endpoint::tcp("127.0.0.1", 1)).unwrap()).collect();
        seen_by_all(&watches, processes).await;

        let (mut registered, mut withdrawn) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            tokio::time::sleep(Duration::from_millis(97)).await;
            let node = nodes.get(round % processes).unwrap();
            let began = Instant::now();
            let lease = node.register(&name, Endpoint::tcp("127.0.0.1", 2)).unwrap();
            seen_by_all(&watches, processes + 1).await;
            registered.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(97)).await;
            let began = Instant::now();
            drop(lease);
            seen_by_all(&watches, processes).await;
            withdrawn.push(began.elapsed());
        }
        drop(leases);
        registered.sort();
        withdrawn.sort();
        println!(
            "| {processes} | {:.1?} | {:.1?} | {:.1?} | {:.1?} |",
            registered[ROUNDS / 2],
            registered[ROUNDS - 1],
            withdrawn[ROUNDS / 2],
            withdrawn[ROUNDS - 1],
        );
    }
}

async fn seen_by_all(watches: &[Watch], endpoints: usize) {
    for watch in watches {
        let mut seen = watch.version();
        while watch.snapshot().len() != endpoints {
            seen = watch.changed_since(seen).await;
        }
    }
}
