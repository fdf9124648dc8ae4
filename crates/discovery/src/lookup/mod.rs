//! Registries that others write: what a name has is asked for in the background, as long as it is watched.
//!
//! Nothing is registered in them: the one who runs the service writes them, be it by hand or by a platform. What was
//! known of a name stays its endpoints while the registry does not answer.

mod listing;

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainstay_core::task::Tasks;
use tokio::{runtime::Handle, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use listing::Listing;

use crate::{
    Endpoint, Lease, Register, Resolve, ServiceName, Unregistrable, Watch,
    registry::{Registry, Status},
    standing::Standing,
};

/// How long a name is followed after its last watch is gone.
const LINGER: Duration = Duration::from_secs(60);

/// The most names that are followed at once: names come from callers.
const MOST_FOLLOWED: usize = 1024;

/// How to ask a registry that others write.
pub(crate) trait Source: Send + Sync + 'static {
    /// What it is called: `dns`.
    const NAME: &'static str;

    /// Tells `listing` what `service` has and what goes wrong, for ever. May be dropped at any await.
    fn follow(&self, service: &ServiceName, listing: &Listing) -> impl Future<Output = Infallible> + Send;
}

/// Follows the names that are watched. Its tasks end when it is dropped; watches keep what they have.
pub(crate) struct Lookup<S: Source> {
    shared: Arc<Shared<S>>,
    _stop: DropGuard,
}

struct Shared<S> {
    source: S,
    tasks: Tasks,
    /// Where tasks run, whatever thread asks for one.
    runtime: Handle,
    stop: CancellationToken,
    standing: Arc<Standing>,
    /// Locked for first look-ups and to forget names; never to read the endpoints of a name that is watched.
    names: Mutex<HashMap<ServiceName, Arc<Listing>>>,
}

impl<S: Source> Lookup<S> {
    pub(crate) fn new(source: S, tasks: &Tasks) -> Self {
        let stop = tasks.stopping().child_token();
        let shared = Shared {
            source,
            tasks: tasks.clone(),
            runtime: Handle::current(),
            stop: stop.clone(),
            standing: Arc::default(),
            names: Mutex::default(),
        };
        Self { shared: Arc::new(shared), _stop: stop.drop_guard() }
    }
}

impl<S: Source> Shared<S> {
    fn names(&self) -> MutexGuard<'_, HashMap<ServiceName, Arc<Listing>>> {
        // No code of others runs under the lock, and each change is whole.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows `service` until the registry is dropped, or nobody has watched for a while.
    async fn run(self: Arc<Self>, service: ServiceName, listing: Arc<Listing>) {
        let forgotten = async {
            let mut idle = false;
            loop {
                sleep(LINGER).await;
                let mut names = self.names();
                if !names.get(&service).is_some_and(|ours| Arc::ptr_eq(ours, &listing)) {
                    return;
                }
                // Under the lock, as a new watch is made under it.
                let is_watched = listing.is_watched();
                if std::mem::replace(&mut idle, !is_watched) && !is_watched {
                    names.remove(&service);
                    return;
                }
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = forgotten => {}
            never = self.source.follow(&service, &listing) => match never {},
        }
    }
}

impl<S: Source> Resolve for Lookup<S> {
    fn resolve(&self, service: &ServiceName) -> Watch {
        let mut names = self.shared.names();
        if let Some(listing) = names.get(service) {
            return listing.watch();
        }
        if names.len() >= MOST_FOLLOWED {
            // Their tasks find out that they were left, at their next look.
            names.retain(|_, listing| listing.is_watched());
        }
        if names.len() >= MOST_FOLLOWED {
            tracing::warn!(registry = S::NAME, %service, "{MOST_FOLLOWED} names are followed already, this one is not");
            return Watch::never();
        }
        let listing = Arc::new(Listing::new(S::NAME, service, &self.shared.standing));
        let watch = listing.watch();
        names.insert(service.clone(), listing.clone());
        let _runtime = self.shared.runtime.enter();
        self.shared.tasks.spawn_detached(self.shared.clone().run(service.clone(), listing));
        watch
    }

    fn known(&self) -> Vec<ServiceName> {
        let names = self.shared.names();
        let mut known: Vec<_> =
            names.iter().filter(|(_, listing)| listing.len() > 0).map(|(name, _)| name.clone()).collect();
        known.sort();
        known
    }
}

/// Changes nothing: who writes the registry lists the endpoint, or does not.
impl<S: Source> Register for Lookup<S> {
    fn register(&self, _: &ServiceName, _: Endpoint) -> Result<Lease, Unregistrable> {
        Ok(Lease::new(|| std::future::ready(())))
    }
}

impl<S: Source> Registry for Lookup<S> {
    fn status(&self) -> Status {
        let mut status = self.shared.standing.status(S::NAME);
        status.followed = self.shared.names().values().map(|listing| listing.followed()).collect();
        status.followed.sort_by(|one, other| one.service.cmp(&other.service));
        status
    }
}

impl<S: Source> fmt::Debug for Lookup<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("registry", &S::NAME)
            .field("known", &self.known())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Lists one endpoint, then fails for ever.
    #[derive(Default)]
    struct Flaky {
        following: Arc<AtomicUsize>,
    }

    struct Count(Arc<AtomicUsize>);

    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl Source for Flaky {
        const NAME: &'static str = "flaky";

        async fn follow(&self, service: &ServiceName, listing: &Listing) -> Infallible {
            self.following.fetch_add(1, Ordering::Relaxed);
            let _count = Count(self.following.clone());
            sleep(Duration::from_secs(1)).await;
            listing.listed([Endpoint::tcp(service.as_str(), 1), Endpoint::tcp(service.as_str(), 1)]);
            loop {
                sleep(Duration::from_secs(1)).await;
                listing.failed("it is\naway");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_known_stays_while_the_registry_does_not_answer() {
        let lookup = Lookup::new(Flaky::default(), &Tasks::new());
        let orders = ServiceName::new("orders").unwrap();
        let watch = lookup.resolve(&orders);
        assert!(!watch.is_settled());
        watch.settled().await;
        assert_eq!(watch.snapshot().len(), 1, "one endpoint a place");
        assert!(lookup.status().is_connected && lookup.status().followed[0].is_current);

        sleep(Duration::from_secs(3600)).await;
        assert_eq!(watch.snapshot().len(), 1);
        assert_eq!(lookup.known(), [orders]);
        let status = lookup.status();
        assert!(!status.is_connected && !status.followed[0].is_current);
        assert!(status.for_seconds > 3590.0, "{status:?}");
        assert_eq!(status.last_error.unwrap().message, "it is away");
        drop(lookup);
        assert_eq!(watch.snapshot().len(), 1, "a watch outlives its registry");
    }

    #[tokio::test(start_paused = true)]
    async fn more_names_than_are_followed_at_once_make_room_where_nobody_watches() {
        let lookup = Lookup::new(Flaky::default(), &Tasks::new());
        let name = |n: usize| ServiceName::new(format!("n{n}")).unwrap();
        let mut watches: Vec<_> = (0..MOST_FOLLOWED).map(|n| lookup.resolve(&name(n))).collect();
        let refused = lookup.resolve(&name(MOST_FOLLOWED));
        assert!(refused.is_settled() && refused.snapshot().is_empty());
        watches.pop();
        let taken = lookup.resolve(&name(MOST_FOLLOWED));
        taken.settled().await;
        assert_eq!(taken.snapshot().len(), 1);
        // The task of the one that made room does not take the new one along, when that name comes again.
        watches.pop();
        watches.push(lookup.resolve(&name(MOST_FOLLOWED - 1)));
        sleep(3 * LINGER).await;
        assert_eq!(lookup.status().followed.len(), MOST_FOLLOWED);
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_followed_as_long_as_they_are_watched_and_the_registry_lives() {
        let following = Arc::new(AtomicUsize::new(0));
        let lookup = Lookup::new(Flaky { following: following.clone() }, &Tasks::new());
        let names: Vec<_> = (0..5).map(|n| ServiceName::new(format!("n{n}")).unwrap()).collect();
        let mut watches: Vec<_> = names.iter().map(|name| lookup.resolve(name)).collect();
        watches.extend(names.iter().map(|name| lookup.resolve(name)));
        sleep(Duration::from_secs(600)).await;
        assert_eq!(following.load(Ordering::Relaxed), 5, "one follower a name");

        watches.truncate(1);
        sleep(2 * LINGER + Duration::from_secs(1)).await;
        assert_eq!(following.load(Ordering::Relaxed), 1);
        assert_eq!(lookup.status().followed.len(), 1);
        drop(lookup);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(following.load(Ordering::Relaxed), 0);
    }
}
