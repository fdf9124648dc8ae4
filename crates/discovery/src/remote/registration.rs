//! The background task of one registration.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    backend::{Backend, Entry, Failure, bounded},
    journal::Standing,
};
use crate::backoff::Backoff;

/// A registration, as its task and its lease share it.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) entry: Entry,
    /// Where the endpoint answers, for people.
    pub(super) place: String,
    pub(super) established: watch::Sender<bool>,
    pub(super) withdraw: CancellationToken,
    /// The registry has taken note of the withdrawal, or was given up on.
    pub(super) withdrawn: CancellationToken,
}

/// Keeps the registration until it is withdrawn or the registry stops, then takes it back.
pub(super) async fn run<B: Backend>(shared: Arc<Shared<B>>, registration: Arc<Registration>) {
    // However this ends, nobody waits for it any longer.
    let _done = registration.withdrawn.clone().drop_guard();
    let mut standing = shared.journal.standing();
    keep(&shared, &registration, &mut standing).await;
    // Also what was never confirmed may have arrived. What can't be taken back runs out.
    let bound = shared.timing.withdrawal();
    let _ = tokio::time::timeout(bound, take_back(&shared, &registration, &mut standing)).await;
    registration.established.send_replace(false);
    shared.registrations().remove(&registration.entry.number);
}

/// Puts the entry and renews it; puts it anew where it was forgotten. Ends between two requests, never in one: a
/// request that was left could still be carried out after the withdrawal.
async fn keep<B: Backend>(shared: &Shared<B>, registration: &Registration, standing: &mut Standing) {
    let (entry, timing) = (&registration.entry, shared.timing);
    let mut backoff = Backoff::new();
    // When the registry was last known to have it.
    let mut kept: Option<Instant> = None;
    let mut is_put = false;
    while !registration.withdraw.is_cancelled() && !shared.is_stopped() {
        let done = if is_put {
            bounded("renewing a registration", timing.timeout, shared.backend.renew(entry)).await
        } else {
            bounded("registering", timing.timeout, shared.backend.put(entry)).await.map(|()| true)
        };
        let wait = match done {
            Ok(true) => {
                standing.well();
                (is_put, kept) = (true, Some(Instant::now()));
                registration.established.send_replace(true);
                backoff.reset();
                timing.renewal()
            }
            Ok(false) => {
                is_put = false;
                registration.established.send_replace(false);
                continue;
            }
            Err(failure) => {
                standing.failed(&failure);
                if kept.is_none_or(|kept| kept.elapsed() >= timing.ttl) {
                    registration.established.send_replace(false);
                }
                backoff.next()
            }
        };
        tokio::select! {
            () = registration.withdraw.cancelled() => {}
            () = shared.stopped() => {}
            () = sleep(wait) => {}
        }
    }
}

/// Removes the entry, again and again until that is answered.
async fn take_back<B: Backend>(shared: &Shared<B>, registration: &Registration, standing: &mut Standing) {
    let timeout = shared.timing.timeout;
    let mut backoff = Backoff::new();
    loop {
        let deleted: Result<(), Failure> =
            bounded("withdrawing a registration", timeout, shared.backend.delete(&registration.entry)).await;
        match deleted {
            Ok(()) => return standing.well(),
            Err(failure) => standing.failed(&failure),
        }
        sleep(backoff.next()).await;
    }
}
