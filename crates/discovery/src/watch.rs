//! The endpoints of a name as they are now, and as they change.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::Endpoint;

/// The endpoints of one service at one moment.
pub type Snapshot = Arc<[Endpoint]>;

/// Reads the endpoints of one service. Neither [`Watch::version`] nor [`Watch::snapshot`] takes a lock; the last
/// known endpoints stay when their source goes away. Cloning is cheap.
#[derive(Clone)]
pub struct Watch {
    /// In order of precedence: the first one that has endpoints counts.
    sources: Arc<[Arc<Source>]>,
}

/// Sets the endpoints that a [`Watch`] reads: the side of the registry.
#[derive(Debug)]
pub struct Publisher {
    source: Arc<Source>,
}

struct Source {
    current: ArcSwap<Snapshot>,
    /// Counts the changes; written after `current`, so that who has seen a version sees its endpoints.
    version: AtomicU64,
    changed: tokio::sync::watch::Sender<()>,
}

impl Watch {
    /// Has no endpoints and never changes.
    #[must_use]
    pub fn never() -> Self {
        Self { sources: Arc::from([]) }
    }

    /// The endpoints of `self`, and those of `other` while `self` has none.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self { sources: self.sources.iter().chain(other.sources.iter()).cloned().collect() }
    }

    /// Grows with each change: one atomic read. What [`Watch::snapshot`] gives afterwards is at least as new.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.sources.iter().map(|source| source.version.load(Ordering::Acquire)).sum()
    }

    /// The endpoints as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshots = self.sources.iter().map(|source| source.current.load());
        match snapshots.find(|snapshot| !snapshot.is_empty()) {
            Some(snapshot) => Snapshot::clone(&snapshot),
            None => Arc::from([]),
        }
    }

    /// Whether the endpoints are known: some are, or every source has said that it has none. Until then an empty
    /// snapshot says nothing.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.snapshot().is_empty()
            || self.sources.iter().all(|source| source.version.load(Ordering::Acquire) > 0)
    }

    /// Waits until [`Watch::is_settled`]; for ever while a registry that has to be asked does not answer.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn settled(&self) {
        let mut seen = self.version();
        while !self.is_settled() {
            seen = self.changed_since(seen).await;
        }
    }

    /// Waits until [`Watch::version`] is no longer `seen`, and returns the new one; for ever if nothing changes.
    ///
    /// # Cancel safety
    /// Can be dropped and called again: no change is missed.
    pub async fn changed_since(&self, seen: u64) -> u64 {
        loop {
            // Subscribed before the version is read: a change in between is seen by one of the two.
            let mut waits: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
            for source in self.sources.iter() {
                let (source, mut changed) = (source.clone(), source.changed.subscribe());
                waits.push(Box::pin(async move {
                    // The sender lives in `source`, so it can't be gone.
                    let _ = changed.changed().await;
                    drop(source);
                }));
            }
            let now = self.version();
            if now != seen {
                return now;
            }
            std::future::poll_fn(|cx| {
                if waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready()) {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
        }
    }
}

impl Publisher {
    /// Without endpoints, and not [settled](Watch::is_settled) before something is published.
    #[must_use]
    pub fn new() -> Self {
        let source = Source {
            current: ArcSwap::from_pointee(Arc::from([])),
            version: AtomicU64::new(0),
            changed: tokio::sync::watch::Sender::new(()),
        };
        Self { source: Arc::new(source) }
    }

    /// Makes `endpoints` what all watches read from now on. Calls must not overlap: the registry orders them.
    pub fn publish(&self, endpoints: impl Into<Snapshot>) {
        self.source.current.store(Arc::new(endpoints.into()));
        self.source.version.fetch_add(1, Ordering::Release);
        self.source.changed.send_replace(());
    }

    /// A reader.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch { sources: Arc::from([self.source.clone()]) }
    }

    /// Whether any reader is left.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        Arc::strong_count(&self.source) > 1
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.snapshot().iter()).finish()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.current.load().iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_of_any_source_wakes_and_the_first_with_endpoints_counts() {
        let (first, second) = (Publisher::new(), Publisher::new());
        let watch = first.watch().or(&second.watch());
        let seen = watch.version();

        let (changed, ()) = tokio::join!(watch.changed_since(seen), async {
            tokio::task::yield_now().await;
            second.publish([Endpoint::tcp("second", 1)]);
        });
        assert_ne!(changed, seen);
        assert_eq!(watch.snapshot()[0].address().to_string(), "second:1");

        first.publish([Endpoint::tcp("first", 1)]);
        assert_ne!(watch.changed_since(changed).await, changed);
        assert_eq!(watch.snapshot()[0].address().to_string(), "first:1");

        drop((first, second));
        assert_eq!(watch.snapshot()[0].address().to_string(), "first:1", "the last known endpoints stay");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_settled_when_some_are_known_or_all_sources_have_none() {
        let (first, second) = (Publisher::new(), Publisher::new());
        let watch = first.watch().or(&second.watch());
        first.publish([]);
        assert!(!watch.is_settled());
        tokio::join!(watch.settled(), async {
            tokio::task::yield_now().await;
            second.publish([]);
        });
        assert!(watch.is_settled() && Watch::never().is_settled());

        let asked = Publisher::new();
        let watch = asked.watch().or(&Publisher::new().watch());
        asked.publish([Endpoint::tcp("a", 1)]);
        assert!(watch.is_settled(), "what has endpoints counts, whoever else was not heard");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_changes_without_a_change() {
        let watch = Publisher::new().watch();
        let wait = std::time::Duration::from_secs(3600);
        assert!(tokio::time::timeout(wait, watch.changed_since(watch.version())).await.is_err());
        assert!(tokio::time::timeout(wait, Watch::never().changed_since(0)).await.is_err());
    }
}
