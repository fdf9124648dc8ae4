//! EndpointSlices as one of the registries.

use std::{collections::BTreeMap, time::Duration};

use mainstay_core::task::Tasks;
use mainstay_discovery::{Address, Health};
use serde_json::{Value, json};

use super::{
    apiserver::{ApiServer, endpoint},
    registry,
};
use crate::world::{Book, Outage, Process, Promises, World};

/// Endpoints in one slice.
const SLICE: usize = 100;

struct Cluster {
    server: ApiServer,
    book: Book,
}

impl Cluster {
    async fn new() -> Self {
        Self { server: ApiServer::start(false).await, book: Book::default() }
    }
}

impl World for Cluster {
    /// Ports tell the protocol, of all endpoints of a slice. A watch that falls silent is ended by its own time, which
    /// is minutes.
    const PROMISES: Promises = Promises {
        scheme: false,
        weight: false,
        metadata: false,
        all_names: false,
        notices_silence: false,
        ..Promises::ALL
    };

    fn ttl(&self) -> Duration {
        Duration::from_millis(500)
    }

    async fn process(&self) -> Process {
        let tasks = Tasks::new();
        Process::new(registry(&self.server, "http", &tasks), tasks)
    }

    fn book(&self) -> Option<&Book> {
        Some(&self.book)
    }

    async fn publish(&self) {
        let mut slices: BTreeMap<String, (String, u16, Vec<Value>)> = BTreeMap::new();
        for (service, endpoints) in self.book.services() {
            for (number, said) in endpoints.iter().enumerate() {
                let Address::Tcp(host, port) = said.address() else { panic!("{said:?}") };
                let is = |health| said.health() == health;
                let mut pod = endpoint(host, is(Health::Serving), !is(Health::Failing), is(Health::Draining));
                pod["zone"] = json!(said.zone());
                let name = format!("{service}-{port}-{}", number / SLICE);
                let slice = slices.entry(name).or_insert_with(|| (service.to_string(), *port, Vec::new()));
                slice.2.push(pod);
            }
        }
        for name in self.server.names().iter().filter(|name| !slices.contains_key(*name)) {
            self.server.delete(name);
        }
        for (name, (service, port, endpoints)) in slices {
            self.server.apply_to(&service, &name, "IPv4", json!(endpoints), port);
        }
    }
}

impl Outage for Cluster {
    async fn stop(&self) {
        self.server.stop();
    }

    async fn start(&self) {
        self.server.restart().await;
    }

    fn pause(&self) {
        self.server.be_silent(true);
    }

    fn resume(&self) {
        self.server.be_silent(false);
    }
}

crate::conformance!(Cluster::new());
crate::outages!(Cluster::new());
