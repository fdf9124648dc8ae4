//! What is known of one name.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{Endpoint, Health, ServiceName, Watch, registry::Followed, standing::Standing, watch::Publisher};

/// The longest text that is kept of an error, in characters: a peer can write what it likes into one.
const LONGEST: usize = 300;

/// Takes what its follower finds out about one name.
#[derive(Debug)]
pub(crate) struct Listing {
    registry: &'static str,
    service: ServiceName,
    publisher: Publisher,
    standing: Arc<Standing>,
    is_current: AtomicBool,
    /// A failure was logged and nothing went well since.
    is_failing: AtomicBool,
}

impl Listing {
    pub(super) fn new(registry: &'static str, service: &ServiceName, standing: &Arc<Standing>) -> Self {
        Self {
            registry,
            service: service.clone(),
            publisher: Publisher::new(),
            standing: standing.clone(),
            is_current: AtomicBool::new(false),
            is_failing: AtomicBool::new(false),
        }
    }

    /// The registry has answered: the name has these endpoints, and no others.
    pub(crate) fn listed(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        self.publish(endpoints);
        self.answered();
    }

    /// The name has these endpoints, as far as is known. Of several for one place the healthiest counts.
    pub(crate) fn publish(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        let mut by_place = BTreeMap::new();
        for endpoint in endpoints {
            match by_place.entry(endpoint.place().clone()) {
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(endpoint);
                }
                btree_map::Entry::Occupied(mut other) if rank(&endpoint) < rank(other.get()) => {
                    other.insert(endpoint);
                }
                btree_map::Entry::Occupied(_) => {}
            }
        }
        let endpoints: Vec<_> = by_place.into_values().collect();
        let current = self.publisher.watch();
        if current.version() == 0 || *current.snapshot() != *endpoints {
            self.publisher.publish(endpoints);
        }
    }

    /// The registry has answered, and what was listed last holds.
    pub(crate) fn answered(&self) {
        self.is_current.store(true, Ordering::Relaxed);
        self.standing.answered();
        if self.is_failing.swap(false, Ordering::Relaxed) {
            let (registry, service) = (self.registry, &self.service);
            tracing::info!(registry, %service, "the registry answers again");
        }
    }

    /// The registry could not be asked, or has not said what can be believed: what was listed last stays. Logged once,
    /// until something goes well.
    pub(crate) fn failed(&self, failure: impl fmt::Display) {
        let printable = |char: char| if char.is_control() { ' ' } else { char };
        let failure: String = failure.to_string().chars().take(LONGEST).map(printable).collect();
        self.is_current.store(false, Ordering::Relaxed);
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            let (registry, service, endpoints) = (self.registry, &self.service, self.len());
            tracing::warn!(
                registry, %service, endpoints, error = failure,
                "the registry does not answer for a service, its last known endpoints stay in use"
            );
        }
        self.standing.failed(failure);
    }

    pub(super) fn watch(&self) -> Watch {
        self.publisher.watch()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.publisher.is_watched()
    }

    /// How many endpoints it has.
    pub(super) fn len(&self) -> usize {
        self.publisher.watch().snapshot().len()
    }

    pub(super) fn followed(&self) -> Followed {
        let (endpoints, is_current) = (self.len(), self.is_current.load(Ordering::Relaxed));
        let unconfirmed = if is_current { 0 } else { endpoints };
        Followed { service: self.service.clone(), endpoints, unconfirmed, is_current }
    }
}

fn rank(endpoint: &Endpoint) -> u8 {
    match endpoint.health() {
        Health::Serving => 0,
        Health::Draining => 1,
        Health::Failing => 2,
    }
}
