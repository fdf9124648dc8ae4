//! The token of a client itself (RFC 6749 section 4.4): fetched with the first call, then ahead of its end as long as it is
//! used, by one task.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use mainstay_core::{context::Deadline, task::Tasks};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::issued::{Issued, Wanted, token};
use crate::{
    client::{Endpoint, Failed, backoff},
    fetch::Post,
    rounds::{Missed, Rounds},
};

/// So many calls wait for one token at most; others fail at once.
const MOST_WAITING: usize = 1024;
/// However short tokens live, the next one is not asked for earlier.
const LEAST: Duration = Duration::from_millis(250);
/// A call waits for a fetch that begins within this time; for a later one it is not worth it.
const SOON: Duration = Duration::from_secs(1);
/// A token that is younger is not dropped because a callee refuses it: another one would be refused too.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// A token of the client itself, kept current. With it ends what keeps it so.
pub(super) struct Own {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    /// What it is for, in the log.
    purpose: String,
    current: ArcSwapOption<Current>,
    /// Whether somebody had it since it was fetched.
    is_used: AtomicBool,
    /// Fetches; wanted by who waits for a token.
    fetches: Rounds<Failed>,
}

struct Current {
    authorization: HeaderValue,
    fetched: Instant,
    /// The next one should be fetched.
    due: Instant,
    /// It is not shown to anybody any more: somewhat before its end, so that it outlives the call.
    until: Instant,
}

impl Own {
    pub(super) fn new<P: Post>(
        purpose: String,
        endpoint: Arc<Endpoint<P>>,
        wanted: Wanted,
        tasks: &Tasks,
    ) -> Self {
        let shared = Arc::new(Shared {
            purpose,
            current: ArcSwapOption::empty(),
            is_used: AtomicBool::new(false),
            fetches: Rounds::new(MOST_WAITING, Some(Instant::now())),
        });
        let stop = tasks.stopping().child_token();
        let keep = keep(shared.clone(), endpoint, wanted);
        tasks.spawn_detached(stop.clone().run_until_cancelled_owned(keep));
        Self { shared, _stop: stop.drop_guard() }
    }

    /// The token of now; no lock, no allocation.
    pub(super) fn current(&self) -> Option<HeaderValue> {
        self.shared.usable()
    }

    /// The token, waited for within `deadline` where there is none.
    ///
    /// # Cancel safety
    /// The fetch goes on when it is dropped.
    pub(super) fn fetched(
        &self,
        deadline: Deadline,
    ) -> impl Future<Output = Result<HeaderValue, Failed>> + Send + 'static {
        let shared = self.shared.clone();
        async move { shared.fetched(deadline.at()).await }
    }

    /// Drops `authorization`, which was refused. Whether another one may be had.
    pub(super) fn refused(&self, authorization: &HeaderValue) -> bool {
        let current = self.shared.current.load();
        match current.as_ref() {
            Some(current) if current.authorization == *authorization => {
                if current.fetched.elapsed() < COOL_DOWN {
                    return false;
                }
            }
            // It was replaced already, or is being so.
            _ => return true,
        }
        tracing::info!(purpose = self.shared.purpose, "a token was refused, another one is fetched");
        self.shared.current.compare_and_swap(&current, None);
        true
    }
}

impl Shared {
    fn usable(&self) -> Option<HeaderValue> {
        let now = Instant::now();
        let current = self.current.load();
        let current = current.as_ref().filter(|current| now < current.until)?;
        // Written only when it changes, so that the line stays shared between cores.
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
            // It was let go, and is of use after all.
            if now >= current.due {
                self.fetches.want();
            }
        }
        Some(current.authorization.clone())
    }

    async fn fetched(&self, until: Instant) -> Result<HeaderValue, Failed> {
        let coming = self.fetches.coming();
        if let Some(authorization) = self.usable() {
            return Ok(authorization);
        }
        let soon = until.min(Instant::now() + SOON);
        let failed = match coming.ended(soon, until).await {
            Ok(failed) => failed,
            Err(Missed::Elapsed) => None,
            Err(Missed::Later(failed)) => {
                return Err(failed.unwrap_or_else(|| Failed::unavailable("no token yet")));
            }
            Err(Missed::Full) => {
                return Err(Failed::unavailable(format_args!(
                    "{MOST_WAITING} calls wait for a token already"
                )));
            }
        };
        self.usable().ok_or_else(|| failed.unwrap_or_else(|| Failed::unavailable("no token came in time")))
    }
}

/// Keeps the token current until it is dropped.
async fn keep<P: Post>(shared: Arc<Shared>, endpoint: Arc<Endpoint<P>>, wanted: Wanted) {
    let mut parameters = vec![("grant_type", "client_credentials")];
    parameters.extend(wanted.iter().map(|(name, value)| (*name, value.as_str())));
    let mut failures = 0_u32;
    // Who never calls asks for no token.
    shared.fetches.wanted().await;
    loop {
        shared.fetches.begin();
        let begun = Instant::now();
        let outcome = token(&endpoint, &parameters).await;
        let (due, failed) = match outcome {
            Ok(issued) => {
                failures = 0;
                (shared.took(&issued, begun), None)
            }
            Err(failed) => {
                tracing::warn!(purpose = shared.purpose, error = %failed, "no token for outgoing calls");
                let pause = backoff(failures);
                failures = failures.saturating_add(1);
                (Instant::now() + pause, Some(failed))
            }
        };
        let is_backing_off = failed.is_some();
        shared.fetches.end(if is_backing_off { due } else { Instant::now() }, failed);
        // Whether it is of use from now on decides about the next one.
        shared.is_used.store(false, Ordering::Relaxed);
        shared.until_due(due, is_backing_off).await;
    }
}

impl Shared {
    /// Takes a token over; when the next one is due.
    fn took(&self, issued: &Issued, begun: Instant) -> Instant {
        let lifetime = issued.lifetime;
        // Not together with everybody else; and never without a pause.
        let due = begun + lifetime.mul_f64(0.6 + 0.2 * fastrand::f64());
        let due = due.max(Instant::now() + LEAST);
        self.current.store(Some(Arc::new(Current {
            authorization: issued.authorization.clone(),
            fetched: begun,
            due,
            until: begun + lifetime.mul_f64(0.9).max(lifetime.saturating_sub(Duration::from_secs(30))),
        })));
        due
    }

    /// Waits until a token has to be fetched: at `due`, or at once where somebody waits for one. One that nobody used is let
    /// go.
    async fn until_due(&self, due: Instant, is_backing_off: bool) {
        let mut timer = pin!(tokio::time::sleep_until(due));
        let mut is_due = false;
        loop {
            tokio::select! {
                () = &mut timer, if !is_due => {
                    is_due = true;
                    if self.is_used.load(Ordering::Relaxed) {
                        return;
                    }
                }
                () = self.fetches.wanted() => {
                    // What was asked for while the last fetch ended is here.
                    if self.is_missing() {
                        if is_backing_off && !is_due {
                            timer.as_mut().await;
                        }
                        return;
                    }
                    if is_due && self.is_used.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        }
    }

    fn is_missing(&self) -> bool {
        self.current.load().as_ref().is_none_or(|current| Instant::now() >= current.until)
    }
}
