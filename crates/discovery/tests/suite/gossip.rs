//! Gossip: each process is a node of its own, with real sockets. There is no server that could be away; crashes and
//! partitions are tested beside its engine.

use std::{sync::Arc, time::Duration};

use mainstay_core::task::Tasks;
use mainstay_discovery::gossip::{Config, Gossip, Seed};

use crate::world::{Process, Promises, World};

/// Where the others begin.
struct Cluster(Gossip);

impl Cluster {
    async fn new() -> Self {
        Self(start(Vec::new(), &Tasks::new()).await)
    }
}

async fn start(seeds: Vec<Seed>, tasks: &Tasks) -> Gossip {
    let mut config = Config::default();
    config.address = "127.0.0.1:0".parse().unwrap();
    config.seeds = seeds;
    config.key = Some("a key of thirty-two characters at".replace(' ', "-").into());
    Gossip::start(&config, tasks).await.unwrap()
}

impl World for Cluster {
    const PROMISES: Promises = Promises { most: 256, ..Promises::ALL };

    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn process(&self) -> Process {
        let tasks = Tasks::new();
        let registry = Arc::new(start(vec![Seed::from(self.0.address())], &tasks).await);
        Process::new(registry, tasks)
    }
}

crate::conformance!(Cluster::new());
