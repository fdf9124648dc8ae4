//! A registry within the process.
//!
//! Holds the services of this process (called as functions), and is what tests use. When not to use it: between
//! processes, since nothing leaves this one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    Endpoint, Lease, Register, Resolve, ServiceName, Unregistrable, Watch,
    registry::{self, Followed, Registered, Status},
    watch::Publisher,
};

/// A registry within the process. Cloning is cheap and shares it.
#[derive(Clone, Default)]
pub struct Registry {
    /// Locked for registrations and first look-ups; never to read the endpoints of a name that is watched.
    services: Arc<Mutex<Services>>,
}

#[derive(Default)]
struct Services {
    entries: HashMap<ServiceName, Entry>,
    registered: u64,
}

struct Entry {
    publisher: Publisher,
    /// In the order of registration, each with the number of its registration.
    endpoints: Vec<(u64, Endpoint)>,
}

impl Registry {
    /// Without registrations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists `endpoint` under `service` until the lease is dropped.
    pub fn register(&self, service: &ServiceName, endpoint: Endpoint) -> Lease {
        let number = self.change(|services| {
            services.registered += 1;
            let number = services.registered;
            let entry = services.entries.entry(service.clone()).or_default();
            entry.endpoints.push((number, endpoint));
            entry.publish();
            number
        });
        let (registry, service) = (self.clone(), service.clone());
        Lease::new(move || {
            registry.withdraw(&service, number);
            std::future::ready(())
        })
    }

    fn withdraw(&self, service: &ServiceName, number: u64) {
        self.change(|services| {
            if let Some(entry) = services.entries.get_mut(service) {
                entry.endpoints.retain(|(registered, _)| *registered != number);
                entry.publish();
            }
            services.forget_unused();
        });
    }

    fn change<R>(&self, change: impl FnOnce(&mut Services) -> R) -> R {
        // No code of others runs under the lock, and each change is whole: a poisoned one is as good as any.
        change(&mut self.services.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Services {
    /// A name that nobody has registered or watches is not worth an entry: names come from callers.
    fn forget_unused(&mut self) {
        self.entries.retain(|_, entry| !entry.endpoints.is_empty() || entry.publisher.is_watched());
    }
}

/// Known from the beginning: nobody has to be asked.
impl Default for Entry {
    fn default() -> Self {
        let publisher = Publisher::new();
        publisher.publish([]);
        Self { publisher, endpoints: Vec::new() }
    }
}

impl Entry {
    fn publish(&self) {
        self.publisher
            .publish(self.endpoints.iter().map(|(_, endpoint)| endpoint.clone()).collect::<Vec<_>>());
    }
}

impl Resolve for Registry {
    fn resolve(&self, service: &ServiceName) -> Watch {
        self.change(|services| {
            if let Some(entry) = services.entries.get(service) {
                return entry.publisher.watch();
            }
            services.forget_unused();
            services.entries.entry(service.clone()).or_default().publisher.watch()
        })
    }

    fn known(&self) -> Vec<ServiceName> {
        self.change(|services| {
            let entries = services.entries.iter().filter(|(_, entry)| !entry.endpoints.is_empty());
            let mut known: Vec<_> = entries.map(|(name, _)| name.clone()).collect();
            known.sort();
            known
        })
    }
}

impl Register for Registry {
    fn register(&self, service: &ServiceName, endpoint: Endpoint) -> Result<Lease, Unregistrable> {
        Ok(Self::register(self, service, endpoint))
    }
}

impl registry::Registry for Registry {
    fn status(&self) -> Status {
        self.change(|services| {
            let mut status = Status { registry: "memory", is_connected: true, ..Status::default() };
            for (service, entry) in &services.entries {
                let endpoints = entry.endpoints.len();
                let (service, unconfirmed, is_current) = (service.clone(), 0, true);
                status.registered.extend(entry.endpoints.iter().map(|(_, endpoint)| Registered {
                    service: service.clone(),
                    place: endpoint.place().to_string(),
                    is_established: true,
                }));
                status.followed.push(Followed { service, endpoints, unconfirmed, is_current });
            }
            status.followed.sort_by(|one, other| one.service.cmp(&other.service));
            status.registered.sort_by(|one, other| one.service.cmp(&other.service));
            status
        })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("known", &self.known()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ServiceName {
        ServiceName::new(name).unwrap()
    }

    #[test]
    fn a_registration_lasts_as_long_as_its_lease() {
        let registry = Registry::new();
        let watch = registry.resolve(&name("orders"));
        assert!(watch.snapshot().is_empty());

        let first = registry.register(&name("orders"), Endpoint::tcp("a", 1));
        let second = registry.register(&name("orders"), Endpoint::tcp("a", 1));
        assert_eq!(watch.snapshot().len(), 2);
        assert_eq!(registry.known(), [name("orders")]);

        drop(first);
        assert_eq!(watch.snapshot().len(), 1, "one lease ends one of two equal registrations");
        drop(second);
        assert!(watch.snapshot().is_empty());
        assert!(registry.known().is_empty());
    }

    #[test]
    fn names_that_nobody_registered_or_watches_take_no_room() {
        let registry = Registry::new();
        let watched = registry.resolve(&name("watched"));
        for number in 0..100 {
            let _ = registry.resolve(&name(&format!("n{number}")));
        }
        assert!(registry.change(|services| services.entries.len()) <= 2);
        let _lease = registry.register(&name("watched"), Endpoint::in_process());
        assert_eq!(watched.snapshot().len(), 1, "a watch that came first sees the registration");
    }
}
