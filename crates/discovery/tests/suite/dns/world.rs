//! The DNS as one of the registries: SRV records of NSD.

use std::{collections::BTreeSet, time::Duration};

use mainstay_core::task::Tasks;
use mainstay_discovery::Address;

use super::{config, nsd::Nsd};
use crate::world::{Book, Outage, Process, Promises, World};

struct Zone {
    nsd: Nsd,
    book: Book,
}

impl Zone {
    async fn new() -> Self {
        Self { nsd: Nsd::start("").await, book: Book::default() }
    }
}

impl World for Zone {
    /// A record says where, and how much; all else is configured for all.
    const PROMISES: Promises = Promises {
        scheme: false,
        zone: false,
        health: false,
        metadata: false,
        most: 128,
        all_names: false,
        ..Promises::ALL
    };

    fn ttl(&self) -> Duration {
        Duration::from_millis(500)
    }

    async fn process(&self) -> Process {
        let (tasks, config) = (Tasks::new(), config("_http._tcp.{service}.internal", &[self.nsd.address()]));
        let registry = mainstay_discovery::dns::registry(&config, &tasks).unwrap();
        Process::new(std::sync::Arc::new(registry), tasks)
    }

    fn book(&self) -> Option<&Book> {
        Some(&self.book)
    }

    async fn publish(&self) {
        let mut records = BTreeSet::new();
        for (service, endpoints) in self.book.services() {
            for endpoint in endpoints {
                let Address::Tcp(host, port) = endpoint.address() else { panic!("{endpoint:?}") };
                let (weight, target) = (endpoint.weight(), format!("at-{}", host.replace('.', "-")));
                records.insert(format!("{target} A {host}\n"));
                records.insert(format!("_http._tcp.{service} SRV 0 {weight} {port} {target}\n"));
            }
        }
        self.nsd.write(&records.into_iter().collect::<String>());
    }
}

impl Outage for Zone {
    async fn stop(&self) {
        self.nsd.stop();
    }

    async fn start(&self) {
        self.nsd.restart().await;
    }

    fn pause(&self) {
        self.nsd.signal_all("STOP");
    }

    fn resume(&self) {
        self.nsd.signal_all("CONT");
    }
}

crate::conformance!(Zone::new());
crate::outages!(Zone::new());
