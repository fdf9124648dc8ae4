//! The engine of every registry that stands behind a server.
//!
//! | file | holds |
//! |---|---|
//! | `backend` | what a server has to be able to do |
//! | `record` | what is written under a key: one endpoint as JSON |
//! | `registration` | the task of one registration: put, renew, put anew, take back |
//! | `following` | the task of one watched name: follow, reconnect, publish |
//! | `changes`, `view` | what a server tells of a name, and what is kept of it through interruptions |
//! | `cache` | the endpoints of before a restart |
//! | `journal` | whether the server answers, logged when that changes |
//!
//! Nothing here waits for a server on behalf of a caller: registering and resolving return at once.

pub(crate) mod backend;
mod cache;
pub(crate) mod changes;
mod following;
mod journal;
mod names;
pub(crate) mod record;
mod registration;
mod view;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainstay_core::task::Tasks;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use self::view::History;
use self::{
    backend::{Backend, Entry, Timing},
    cache::Cache,
    changes::Changes,
    following::Following,
    journal::Journal,
    names::Names,
    record::Listed,
    registration::Registration,
    view::View,
};
use crate::{
    Endpoint, Lease, Register, Resolve, ServiceName, Unregistrable, Watch,
    registry::{self, Registered, Status, Unusable},
};

/// The most names that are followed at once: names come from callers.
const MOST_FOLLOWED: usize = 1024;

/// A registry behind a server. When the last handle is dropped its tasks end: they take back what was registered, and
/// watches keep what they have.
pub(crate) struct Remote<B: Backend> {
    shared: Arc<Shared<B>>,
    _stop: DropGuard,
}

pub(crate) struct Shared<B> {
    backend: B,
    timing: Timing,
    tasks: Tasks,
    /// Where tasks run, whatever thread asks for one.
    runtime: Handle,
    stop: CancellationToken,
    journal: Arc<Journal>,
    followed: Mutex<HashMap<ServiceName, Arc<Following>>>,
    registrations: Mutex<HashMap<i64, Arc<Registration>>>,
    names: Names,
    cache: Option<Arc<Cache>>,
    refused: std::sync::Once,
}

impl<B: Backend> Remote<B> {
    /// Works with `backend` in `tasks`, on the current runtime.
    ///
    /// # Errors
    /// [`Unusable`] when the cache can't be kept where it should be.
    pub(crate) async fn new(
        backend: B,
        timing: Timing,
        cache: Option<&registry::Cache>,
        tasks: &Tasks,
    ) -> Result<Self, Unusable> {
        let cache = match cache {
            Some(config) => Some(Arc::new(Cache::open(B::NAME, config).await?)),
            None => None,
        };
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            backend,
            timing,
            tasks: tasks.clone(),
            runtime: Handle::current(),
            stop: stop.clone(),
            journal: Journal::new(B::NAME),
            followed: Mutex::default(),
            registrations: Mutex::default(),
            names: Names::default(),
            cache,
            refused: std::sync::Once::new(),
        });
        shared.spawn(names::run(shared.clone()));
        if let Some(cache) = &shared.cache {
            shared.spawn(cache::run(shared.clone(), cache.clone()));
        }
        Ok(Self { shared, _stop: stop.drop_guard() })
    }
}

impl<B: Backend> Register for Remote<B> {
    fn register(&self, service: &ServiceName, endpoint: Endpoint) -> Result<Lease, Unregistrable> {
        let listed = Listed::now(endpoint);
        let unregistrable = |reason| Unregistrable::new(service, &listed.endpoint, B::NAME, reason);
        let value = listed.write().map_err(unregistrable)?;
        if let Some(reason) = self.shared.backend.misfit(&listed.endpoint) {
            return Err(unregistrable(reason));
        }
        let place = listed.endpoint.place().to_string();
        let number = fastrand::i64(1..);
        let entry = Entry { service: service.clone(), number, id: format!("{number:016x}"), value };
        let registration = Arc::new(Registration {
            entry,
            place,
            established: watch::Sender::new(false),
            withdraw: CancellationToken::new(),
            withdrawn: CancellationToken::new(),
        });
        self.shared.registrations().insert(number, registration.clone());
        self.shared.spawn(registration::run(self.shared.clone(), registration.clone()));
        let established = registration.established.subscribe();
        let bound = self.shared.timing.withdrawal();
        let lease = Lease::new(move || {
            registration.withdraw.cancel();
            async move {
                let _ = tokio::time::timeout(bound, registration.withdrawn.cancelled()).await;
            }
        });
        Ok(lease.established_when(established))
    }
}

impl<B: Backend> Resolve for Remote<B> {
    fn resolve(&self, service: &ServiceName) -> Watch {
        let mut followed = self.shared.followed();
        if let Some(following) = followed.get(service) {
            return following.watch();
        }
        if followed.len() >= MOST_FOLLOWED {
            // Their tasks find out that they were left, at their next look.
            followed.retain(|_, following| following.is_watched());
        }
        if followed.len() >= MOST_FOLLOWED {
            self.shared.refused.call_once(|| {
                let (registry, most) = (B::NAME, MOST_FOLLOWED);
                tracing::warn!(registry, %service, most, "too many names are watched: further ones have no endpoints");
            });
            return Watch::never();
        }
        let mut view = View::new(self.shared.timing.ttl);
        for (id, listed) in self.shared.cache.iter().flat_map(|cache| cache.remembered(service)) {
            view.remember(id, listed);
        }
        let following = Arc::new(Following::new(Changes::new(B::NAME, service.clone(), view)));
        followed.insert(service.clone(), following.clone());
        let watch = following.watch();
        drop(followed);
        self.shared.spawn(following::run(self.shared.clone(), service.clone(), following));
        watch
    }

    /// The names that are watched and have endpoints, those that this process has registered, and those that the
    /// registry had when it was last asked; asking goes on in the background.
    fn known(&self) -> Vec<ServiceName> {
        let mut known = self.shared.names.known();
        let followed = self.shared.followed();
        known.extend(
            followed.iter().filter(|(_, following)| following.endpoints() > 0).map(|(name, _)| name.clone()),
        );
        drop(followed);
        let registrations = self.shared.registrations();
        let established = registrations.values().filter(|registration| *registration.established.borrow());
        known.extend(established.map(|registration| registration.entry.service.clone()));
        known.sort();
        known.dedup();
        known
    }
}

impl<B: Backend> registry::Registry for Remote<B> {
    fn status(&self) -> Status {
        let mut status = self.shared.journal.status();
        let followed = self.shared.followed();
        status.followed = followed.values().map(|following| following.status()).collect();
        let malformed: usize = followed.values().map(|following| following.changes.malformed()).sum();
        status.counted.insert("malformed", u64::try_from(malformed).unwrap_or(u64::MAX));
        drop(followed);
        status.followed.sort_by(|one, other| one.service.cmp(&other.service));
        let registrations = self.shared.registrations();
        status.registered = registrations
            .values()
            .map(|registration| Registered {
                service: registration.entry.service.clone(),
                place: registration.place.clone(),
                is_established: *registration.established.borrow(),
            })
            .collect();
        status
            .registered
            .sort_by(|one, other| (&one.service, &one.place).cmp(&(&other.service, &other.place)));
        status
    }
}

impl<B: Backend> Shared<B> {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let _runtime = self.runtime.enter();
        self.tasks.spawn_detached(task);
    }

    /// Waits until the registry is dropped or the process stops.
    async fn stopped(&self) {
        let stopping = self.tasks.stopping();
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = stopping.cancelled() => {}
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_cancelled() || self.tasks.stopping().is_cancelled()
    }

    /// Whether `following` may end: unless somebody has begun to watch it.
    fn forget(&self, service: &ServiceName, following: &Arc<Following>) -> bool {
        let mut followed = self.followed();
        match followed.get(service) {
            Some(current) if Arc::ptr_eq(current, following) => {
                if following.is_watched() {
                    return false;
                }
                followed.remove(service);
            }
            // It was taken out already, when there were too many.
            _ => {}
        }
        true
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<ServiceName, Arc<Following>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registrations(&self) -> MutexGuard<'_, HashMap<i64, Arc<Registration>>> {
        self.registrations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backend> fmt::Debug for Remote<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("registry", &B::NAME).finish_non_exhaustive()
    }
}
