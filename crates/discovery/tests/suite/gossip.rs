//! Gossip: each process is a node of its own, with real sockets. What needs a server in the middle, or thousands of
//! registrations of one process, is not promised by it; crashes and partitions are tested beside its engine.

use std::{sync::Arc, time::Duration};

use mainstay_core::task::Tasks;
use mainstay_discovery::gossip::{Config, Gossip, Seed};

use crate::world::{Process, World};

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
    /// Nothing is renewed; this is how long the suite looks whether something goes.
    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn process(&self) -> Process {
        let tasks = Tasks::new();
        let registry = Arc::new(start(vec![Seed::from(self.0.address())], &tasks).await);
        Process { registry, tasks, wire: None }
    }

    async fn calm_process(&self) -> Process {
        self.process().await
    }
}

crate::each!(Cluster::new();
    what_is_registered_is_seen,
    what_is_withdrawn_is_gone,
    copies_come_and_go_one_by_one,
    a_copy_can_change_what_is_said_of_it_without_a_gap,
    a_name_that_nobody_has_is_settled_and_empty,
    known_names_are_told,
    a_watch_that_came_first_sees_what_comes_later,
);
