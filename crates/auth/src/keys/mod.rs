//! The keys of an issuer: read without a lock, kept current by one task.

mod jwk;
mod remote;
mod set;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use jsonwebtoken::Algorithm;
use mainstay_core::{context::RequestContext, task::Tasks};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

pub use self::jwk::{Hmac, Rsa};
use self::remote::{Place, Remote, Timing};
pub(crate) use self::{
    jwk::Key,
    set::{NotFound, Set},
};
use crate::{
    config::Issuer,
    fetch::{Fetch, Url},
    file,
    rounds::Rounds,
};

/// So many requests wait for the keys of one issuer at most; others with unknown keys are refused at once.
const MOST_WAITING: usize = 256;

/// The keys of one issuer. What keeps them current ends with it.
pub(crate) struct Keys {
    shared: Arc<Shared>,
    _stop: Option<DropGuard>,
}

/// What the task and the requests share.
pub(crate) struct Shared {
    /// Its name in the configuration.
    name: String,
    current: ArcSwap<Set>,
    /// Fetches; wanted by who has a key that is not there.
    fetches: Rounds<()>,
    /// How long a request waits for a fetch at most.
    wait: Duration,
    /// What became of reading them, for people; no request looks at it.
    outcome: Mutex<Outcome>,
}

/// What became of reading keys.
#[derive(Debug, Default)]
struct Outcome {
    read: Option<Instant>,
    failed: Option<(Instant, String)>,
}

impl Keys {
    /// As configured; keys from a URL are not waited for.
    pub(crate) async fn open(
        name: &str,
        issuer: &Issuer,
        tasks: &Tasks,
        fetch: impl Fetch,
    ) -> Result<Self, String> {
        let rsa = issuer.rsa.into();
        let fixed = |set: Set| Self { shared: Arc::new(Shared::new(name, set, issuer, None)), _stop: None };
        if issuer.has_no_keys() {
            return Ok(fixed(Set::default()));
        }
        if let Some(secret) = &issuer.secret {
            let key = Key::of_secret(secret, issuer.secret_algorithm);
            return Ok(fixed(Set::of(vec![Arc::new(key)])));
        }
        if let Some(jwks) = &issuer.jwks {
            return Ok(fixed(Set::parse(jwks.as_bytes(), rsa, &Set::default(), name)?));
        }
        let stop = tasks.stopping().child_token();
        if let Some(path) = &issuer.jwks_file {
            let content = file::read(path.clone()).await?;
            let set = Set::parse(&content, rsa, &Set::default(), name)?;
            let shared = Arc::new(Shared::new(name, set, issuer, None));
            shared.note(Ok(()));
            let watch = file::watch(path.clone(), content, taking(shared.clone(), path.clone(), rsa));
            tasks.spawn_detached(stop.clone().run_until_cancelled_owned(watch));
            return Ok(Self { shared, _stop: Some(stop.drop_guard()) });
        }
        let place = match &issuer.jwks_url {
            Some(url) => Place::Known(Url::parse(url).ok_or("it is not a URL")?),
            None => Place::Discovered(Url::parse(&issuer.issuer).ok_or("the issuer is not a URL")?, None),
        };
        let shared = Arc::new(Shared::new(name, Set::default(), issuer, Some(Instant::now())));
        let remote = Remote {
            shared: shared.clone(),
            fetch,
            place,
            issuer: issuer.issuer.clone(),
            allow_http: issuer.allows_http(),
            rsa,
            timing: Timing::of(issuer),
        };
        tasks.spawn_detached(stop.clone().run_until_cancelled_owned(remote.run()));
        Ok(Self { shared, _stop: Some(stop.drop_guard()) })
    }

    /// Those of now; no lock.
    pub(crate) fn current(&self) -> Guard<Arc<Set>> {
        self.shared.current.load()
    }

    /// What may be told of them: no secrets.
    pub(crate) fn to_json(&self) -> Value {
        let Outcome { read, failed } = &*self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failed.as_ref();
        json!({
            "keys": self.current().to_json(),
            "read": read.map(|at| json!({ "ago_ms": millis(at) })),
            "failed": failed.map(|(at, error)| json!({ "ago_ms": millis(*at), "error": error })),
        })
    }

    /// What the configuration calls their issuer.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    /// Waits until the keys were fetched anew, no longer than the request has time or `wait` says. Whether they were.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub(crate) async fn refreshed(&self) -> bool {
        self.shared.refreshed().await
    }
}

impl Shared {
    fn new(name: &str, set: Set, issuer: &Issuer, next: Option<Instant>) -> Self {
        Self {
            name: name.to_owned(),
            current: ArcSwap::from_pointee(set),
            fetches: Rounds::new(MOST_WAITING, next),
            wait: issuer.wait.get(),
            outcome: Mutex::default(),
        }
    }

    /// Notes that they were read, or why not.
    fn note(&self, outcome: Result<(), &str>) {
        let mut noted = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => noted.read = Some(Instant::now()),
            Err(error) => noted.failed = Some((Instant::now(), error.to_owned())),
        }
    }

    async fn refreshed(&self) -> bool {
        let now = Instant::now();
        let deadline = RequestContext::current().and_then(|context| context.deadline());
        let until = deadline.map_or(now + self.wait, |deadline| deadline.at().min(now + self.wait));
        self.fetches.coming().ended(until, until).await.is_ok()
    }

    fn store(&self, next: Set) {
        let next = Arc::new(next);
        let earlier = self.current.swap(Arc::clone(&next));
        earlier.leave_to(&next);
    }
}

/// Takes over the keys in a file that has changed.
fn taking(shared: Arc<Shared>, path: PathBuf, rsa: Algorithm) -> impl FnMut(Result<&[u8], &str>) {
    move |content| {
        let earlier = shared.current.load_full();
        let read = content.map_err(ToOwned::to_owned);
        match read.and_then(|content| Set::parse(content, rsa, &earlier, &shared.name)) {
            Ok(set) => {
                shared.note(Ok(()));
                let keys = set.len();
                tracing::info!(issuer = shared.name, keys, "the keys of the changed file are in use");
                shared.store(set);
            }
            Err(error) => {
                shared.note(Err(&error));
                tracing::warn!(issuer = shared.name, path = %path.display(), error, "the file of keys can't be used, the last known ones stay in use");
            }
        }
    }
}

/// How long ago `at` was, in milliseconds.
fn millis(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("issuer", &self.shared.name)
            .field("keys", &self.current().len())
            .finish_non_exhaustive()
    }
}
