//! Keys from a URL: one task fetches, ahead of time, or because somebody wants a key that is not there.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::Algorithm;
use tokio::time::Instant;

use super::{Set, Shared};
use crate::{
    config::Issuer,
    fetch::{self, Document, Failure, Fetch, Url},
};

/// The first pause after a failure, while no key is known.
const EAGER: Duration = Duration::from_millis(100);

/// Keeps the keys of an issuer current.
pub(super) struct Remote<F> {
    pub(super) shared: Arc<Shared>,
    pub(super) fetch: F,
    pub(super) place: Place,
    /// What its metadata has to call it, byte for byte.
    pub(super) issuer: String,
    pub(super) allow_http: bool,
    pub(super) rsa: Algorithm,
    pub(super) timing: Timing,
}

/// Where the keys are.
#[derive(Debug)]
pub(super) enum Place {
    Known(Url),
    /// Where the issuer is, and where its metadata said that the keys are.
    Discovered(Url, Option<Url>),
}

/// When they are fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// Keys are fetched anew within this time, or earlier where the issuer says so.
    pub(super) refresh: Duration,
    /// No two fetches begin within this time, once there are keys.
    pub(super) cool_down: Duration,
    /// So long keys are used that could not be fetched anew.
    pub(super) stale_limit: Duration,
}

impl Timing {
    pub(super) fn of(issuer: &Issuer) -> Self {
        Self {
            refresh: issuer.refresh.get(),
            cool_down: issuer.cool_down.get(),
            stale_limit: issuer.stale_limit.get(),
        }
    }

    /// Ahead of the end of what the issuer promised, and not together with everybody else.
    fn after_success(&self, max_age: Option<Duration>) -> Duration {
        let lifetime = max_age.map_or(self.refresh, |max_age| max_age.min(self.refresh));
        lifetime.mul_f64(0.7 + 0.2 * fastrand::f64()).max(self.cool_down)
    }

    /// More and more seldom. Sooner while there are no keys at all, since nobody is let in: the issuer may just be starting too.
    fn after_failure(&self, failures: u32, has_keys: bool) -> Duration {
        let first = if has_keys { self.cool_down } else { EAGER.min(self.cool_down) };
        let pause = first.saturating_mul(1 << failures.min(10)).min(64 * self.cool_down);
        pause.min(self.refresh.max(self.cool_down)).mul_f64(1.0 + 0.2 * fastrand::f64())
    }
}

impl<F: Fetch> Remote<F> {
    /// Fetches until it is dropped.
    pub(super) async fn run(mut self) {
        let (mut fetched, mut failures) = (Instant::now(), 0);
        loop {
            self.shared.fetches.begin();
            let begun = Instant::now();
            let mut next = begun + self.timing.cool_down;
            let due = match self.fetched().await {
                Ok(max_age) => {
                    self.shared.note(Ok(()));
                    (fetched, failures) = (Instant::now(), 0);
                    fetched + self.timing.after_success(max_age)
                }
                Err(Failure(error)) => {
                    self.shared.note(Err(&error));
                    self.failed(&error, fetched);
                    let has_keys = !self.shared.current.load().is_empty();
                    let due = begun + self.timing.after_failure(failures, has_keys);
                    failures += 1;
                    if !has_keys {
                        next = next.min(due);
                    }
                    // The last try is made when they become too old.
                    let end = fetched + self.timing.stale_limit;
                    if end > begun { due.min(end.max(next)) } else { due }
                }
            };
            self.shared.fetches.end(next, None);
            tokio::select! {
                () = tokio::time::sleep_until(due.max(next)) => {}
                () = self.shared.fetches.wanted() => tokio::time::sleep_until(next).await,
            }
        }
    }

    /// How long they may be taken for new.
    async fn fetched(&mut self) -> Result<Option<Duration>, Failure> {
        let url = self.url().await?;
        let read = match self.fetch.get(&url).await {
            Ok(document) => self.parsed(&document).map(|set| (set, document.max_age)),
            Err(failure) => Err(failure),
        };
        match read {
            Ok((set, max_age)) => {
                self.shared.store(set);
                Ok(max_age)
            }
            Err(failure) => {
                // The next time it may say that they are somewhere else.
                if let Place::Discovered(_, found) = &mut self.place {
                    *found = None;
                }
                Err(failure)
            }
        }
    }

    fn parsed(&self, document: &Document) -> Result<Set, Failure> {
        let earlier = self.shared.current.load_full();
        Set::parse(&document.body, self.rsa, &earlier, &self.shared.name)
            .map_err(|error| Failure::new(format_args!("the key set: {error}")))
    }

    async fn url(&mut self) -> Result<Url, Failure> {
        match &self.place {
            Place::Known(url) | Place::Discovered(_, Some(url)) => Ok(url.clone()),
            Place::Discovered(issuer, None) => {
                let issuer = issuer.clone();
                let found =
                    fetch::endpoint(&self.fetch, &issuer, &self.issuer, "jwks_uri", self.allow_http).await?;
                self.place = Place::Discovered(issuer, Some(found.clone()));
                Ok(found)
            }
        }
    }

    fn failed(&self, error: &str, fetched: Instant) {
        let issuer = &self.shared.name;
        if self.shared.current.load().is_empty() {
            tracing::warn!(issuer, error, "the keys of the issuer can't be fetched; there are none yet");
        } else if fetched.elapsed() >= self.timing.stale_limit {
            tracing::error!(
                issuer,
                error,
                "the keys of the issuer can't be fetched; those known are too old to be used"
            );
            self.shared.store(Set::default());
        } else {
            tracing::warn!(issuer, error, "the keys of the issuer can't be fetched; those known stay in use");
        }
    }
}
