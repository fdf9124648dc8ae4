//! Work that several want at once, and is done once.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use mainstay_core::task::Tasks;
use tokio::sync::watch;

/// Work under way, by key. Bounded: beyond that many keys nothing is begun.
pub(crate) struct Flights<V> {
    under_way: Mutex<HashMap<Box<str>, watch::Receiver<Option<V>>>>,
    most: usize,
    tasks: Tasks,
}

/// Why there is no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missed {
    /// So much is under way already.
    Full,
    /// The work ended without one: the process ends.
    Ended,
}

impl<V: Clone + Send + Sync + 'static> Flights<V> {
    pub(crate) fn new(most: usize, tasks: &Tasks) -> Arc<Self> {
        Arc::new(Self { under_way: Mutex::default(), most, tasks: tasks.clone() })
    }

    /// The outcome of `work` for `key`, or of that which is under way for it already. `work` bounds itself.
    ///
    /// # Cancel safety
    /// The work goes on for others when it is dropped, and for the next one.
    pub(crate) async fn join<F>(
        self: &Arc<Self>,
        key: &str,
        work: impl FnOnce() -> F + Send,
    ) -> Result<V, Missed>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut outcome = self.begun(key, work).ok_or(Missed::Full)?;
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| Missed::Ended)?;
        outcome.clone().ok_or(Missed::Ended)
    }

    fn begun<F>(self: &Arc<Self>, key: &str, work: impl FnOnce() -> F) -> Option<watch::Receiver<Option<V>>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.get(key) {
            return Some(outcome.clone());
        }
        if under_way.len() >= self.most {
            return None;
        }
        let (done, outcome) = watch::channel(None);
        under_way.insert(key.into(), outcome.clone());
        let landing = Landing { flights: Arc::clone(self), key: key.into() };
        let (work, stop) = (work(), self.tasks.stopping());
        self.tasks.spawn_detached(async move {
            let outcome = stop.run_until_cancelled_owned(work).await;
            // Gone before it is told, so that who comes later begins anew.
            drop(landing);
            done.send_replace(outcome);
        });
        Some(outcome)
    }
}

/// Takes the work out at its end, whatever that is.
struct Landing<V> {
    flights: Arc<Flights<V>>,
    key: Box<str>,
}

impl<V> Drop for Landing<V> {
    fn drop(&mut self) {
        self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_several_want_at_once_is_done_once_also_when_the_first_gives_up() {
        let (flights, begun) = (Flights::new(2, &Tasks::new()), Arc::new(AtomicU32::new(0)));
        let join = |key: &'static str| {
            let (flights, begun) = (flights.clone(), begun.clone());
            async move {
                let work = || async move {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    begun.fetch_add(1, Ordering::Relaxed)
                };
                flights.join(key, work).await
            }
        };
        let hasty = tokio::time::timeout(Duration::from_secs(1), join("a")).await;
        assert!(hasty.is_err());
        let (one, two) = tokio::join!(join("a"), join("a"));
        assert_eq!((one, two), (Ok(0), Ok(0)));
        assert_eq!(join("a").await, Ok(1), "what is done is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_bound_nothing_is_begun_and_places_come_back() {
        let flights = Flights::new(1, &Tasks::new());
        let long = || async { tokio::time::sleep(Duration::from_secs(1)).await };
        let first = flights.join("a", long);
        let mut first = std::pin::pin!(first);
        assert!(tokio::time::timeout(Duration::ZERO, first.as_mut()).await.is_err());
        assert_eq!(flights.join("b", || async {}).await, Err(Missed::Full));
        first.await.unwrap();
        assert_eq!(flights.join("b", || async {}).await, Ok(()));
    }
}
