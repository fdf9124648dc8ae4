use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So long it is not looked whether something has changed; tests have no time for it.
const LASTS: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };
/// Of those that are asked for; whoever makes up names has others asked for again.
const MOST: usize = 10_000;

/// What was found in the last seconds, and what was not.
pub(in crate::issuer) struct Recent<T>(Mutex<Entries<T>>);

/// By name: when it was asked for, and what was there.
type Entries<T> = HashMap<String, (Instant, Option<Arc<T>>)>;

impl<T> Recent<T> {
    /// What `load` finds under `name`, now or a moment ago.
    pub(in crate::issuer) async fn get<E>(
        &self,
        name: &str,
        load: impl Future<Output = Result<Option<Arc<T>>, E>>,
    ) -> Result<Option<Arc<T>>, E> {
        // Before it is asked: what changes meanwhile is not newer than that.
        let now = Instant::now();
        if let Some((since, found)) = self.entries().get(name)
            && now.duration_since(*since) < LASTS
        {
            return Ok(found.clone());
        }
        let found = load.await?;
        let mut entries = self.entries();
        if entries.len() >= MOST {
            entries.retain(|_, (since, _)| now.duration_since(*since) < LASTS);
        }
        if entries.len() >= MOST {
            entries.clear();
        }
        entries.insert(name.to_owned(), (now, found.clone()));
        Ok(found)
    }

    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Without what it has, which is about people.
impl<T> fmt::Debug for Recent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recent({} entries)", self.entries().len())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_again_after_seconds_and_keeps_no_more_than_it_may() {
        let (recent, loads) = (Recent::default(), AtomicUsize::new(0));
        let load = async |name: &str| {
            let load = async { Ok::<_, Infallible>(Some(Arc::new(loads.fetch_add(1, Ordering::Relaxed)))) };
            *recent.get(name, load).await.unwrap().unwrap()
        };
        assert_eq!((load("a").await, load("a").await), (0, 0));
        tokio::time::sleep(LASTS).await;
        assert_eq!((load("a").await, load("a").await), (1, 1));
        for index in 0..2 * MOST {
            load(&index.to_string()).await;
        }
        assert!(recent.entries().len() <= MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_remembered_and_nothing_is() {
        let recent = Recent::<u8>::default();
        recent.get("a", async { Err("down") }).await.unwrap_err();
        assert_eq!(recent.get("a", async { Ok::<_, &str>(None) }).await, Ok(None));
        let again = async { Ok::<_, &str>(Some(Arc::new(1))) };
        assert_eq!(recent.get("a", again).await, Ok(None), "that there is none is remembered too");
    }
}
