//! The background task of one watched name.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Shared,
    backend::{Backend, Failure},
    changes::Changes,
    journal::Standing,
};
use crate::{ServiceName, Watch, backoff::Backoff, registry, watch::Publisher};

/// How long a name is followed after the last watch of it is gone.
pub(super) const LINGER: Duration = Duration::from_secs(60);

/// Between two publications, so that a storm of changes costs one list of endpoints and not one each.
const PAUSE: Duration = Duration::from_millis(20);

/// How long following has to go well before the next failure is the first one again.
const STEADY: Duration = Duration::from_secs(5);

/// A name that is followed.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) changes: Changes,
    publisher: Publisher,
    /// Since when nobody watches, as far as was looked.
    idle: Mutex<Option<Instant>>,
}

impl Following {
    /// What is remembered from before is published at once.
    pub(super) fn new(changes: Changes) -> Self {
        let following = Self { changes, publisher: Publisher::new(), idle: Mutex::new(None) };
        following.publish();
        following
    }

    pub(super) fn watch(&self) -> Watch {
        self.publisher.watch()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.publisher.is_watched()
    }

    pub(super) fn endpoints(&self) -> usize {
        self.publisher.watch().snapshot().len()
    }

    pub(super) fn status(&self) -> registry::Followed {
        self.changes.status(self.endpoints())
    }

    /// Not before anything is known: until then the watches are not settled.
    fn publish(&self) {
        if let Some(endpoints) = self.changes.take() {
            self.publisher.publish(endpoints);
        } else if self.changes.is_current() && self.publisher.watch().version() == 0 {
            self.publisher.publish([]);
        }
    }

    /// Whether nobody has watched for [`LINGER`].
    fn is_forgotten(&self) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_watched() {
            *idle = None;
            return false;
        }
        idle.get_or_insert_with(Instant::now).elapsed() >= LINGER
    }
}

/// Follows `service` until the registry stops or nobody watches any more.
pub(super) async fn run<B: Backend>(shared: Arc<Shared<B>>, service: ServiceName, following: Arc<Following>) {
    tokio::select! {
        () = shared.stopped() => {}
        never = follow(&shared, &service, &following.changes) => match never {},
        () = upkeep(&shared, &service, &following) => {}
    }
}

/// Follows, again and again.
async fn follow<B: Backend>(shared: &Shared<B>, service: &ServiceName, changes: &Changes) -> Infallible {
    let mut standing = shared.journal.standing();
    let mut backoff = Backoff::new();
    loop {
        changes.begin();
        let failure = tokio::select! {
            failure = shared.backend.follow(service, changes) => failure,
            failure = silence(shared, changes) => failure,
            never = note_success(changes, &mut standing) => match never {},
        };
        standing.failed(&failure);
        if changes.interrupted() >= STEADY {
            backoff.reset();
        }
        sleep(backoff.next()).await;
    }
}

/// Ends when the server has said nothing for too long.
async fn silence<B: Backend>(shared: &Shared<B>, changes: &Changes) -> Failure {
    let bound = shared.timing.silence();
    loop {
        let heard = changes.last_heard();
        if heard.elapsed() >= bound {
            return Failure::elapsed("following a name", bound);
        }
        sleep_until(heard + bound).await;
    }
}

async fn note_success(changes: &Changes, standing: &mut Standing) -> Infallible {
    changes.current().await;
    standing.well();
    std::future::pending().await
}

/// Publishes what has changed and drops what was missing for too long, until nobody watches.
async fn upkeep<B: Backend>(shared: &Shared<B>, service: &ServiceName, following: &Arc<Following>) {
    let changes = &following.changes;
    loop {
        let look = Instant::now() + LINGER / 4;
        let next = changes.next_expiry().map_or(look, |expiry| expiry.min(look));
        tokio::select! {
            () = changes.changed() => {}
            () = sleep_until(next) => {}
        }
        following.publish();
        if let Some(cache) = &shared.cache {
            cache.changed();
        }
        if following.is_forgotten() && shared.forget(service, following) {
            return;
        }
        sleep(PAUSE).await;
    }
}
