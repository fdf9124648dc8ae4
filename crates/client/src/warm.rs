//! Connections that are there before a request wants them, where `client.pool.min_idle` says so.
//!
//! A keeper opens them as soon as an endpoint is known, and replaces those that have ended. There is one for each
//! service and runtime, since a connection is driven by the runtime that opened it; the first call of a runtime begins it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainstay_discovery::{Address, Protocol};

use crate::{
    pool::{Shards, Version},
    target::{Policy, Target},
};

/// Connections to one service that a keeper opens at a time.
const AT_A_TIME: usize = 64;
/// After a change of the endpoints the next one is not looked at for so long: registries can change without end.
const PAUSE: Duration = Duration::from_millis(50);

/// What is known of the keepers of a service.
#[derive(Debug, Default)]
pub(crate) struct Warm {
    /// Whether it is called over gRPC, and otherwise: gRPC takes HTTP/2 wherever an endpoint is listed.
    by_grpc: AtomicBool,
    plainly: AtomicBool,
    keepers: Shards<Keeper>,
}

/// Whether there is one.
#[derive(Debug, Default)]
struct Keeper(AtomicBool);

/// The service is called: what it is called by is kept ready.
pub(crate) fn called(target: &Arc<Target>, policy: &Policy, is_grpc: bool) {
    let by = if is_grpc { &target.warm.by_grpc } else { &target.warm.plainly };
    // Read first: the line stays shared between the workers.
    if !by.load(Ordering::Relaxed) {
        by.store(true, Ordering::Relaxed);
    }
    begin(target, policy);
}

/// Begins the keeper of this runtime, if there is none.
pub(crate) fn begin(target: &Arc<Target>, policy: &Policy) {
    let keeper = target.warm.keepers.here();
    if keeper.0.load(Ordering::Relaxed) || keeper.0.swap(true, Ordering::Relaxed) {
        return;
    }
    policy.pool.tasks.spawn_detached(keep(Arc::downgrade(target), Running(keeper)));
}

/// Ends with the service, the client, or the setting.
async fn keep(target: Weak<Target>, _running: Running) {
    loop {
        let Some(target) = target.upgrade() else { return };
        let policy = target.policy();
        let stopping = policy.pool.tasks.stopping();
        if policy.config.pool.min_idle == 0 || stopping.is_cancelled() {
            return;
        }
        let watch = target.watch().clone();
        let seen = watch.version();
        open_what_is_missing(&target, &policy);
        // The service ends when nobody else has it.
        drop(target);
        tokio::select! {
            () = tokio::time::sleep(policy.config.pool.keep_every()) => {}
            () = async { watch.changed_since(seen).await; tokio::time::sleep(PAUSE).await } => {}
            () = stopping.cancelled() => return,
        }
    }
}

fn open_what_is_missing(target: &Target, policy: &Policy) {
    let by_grpc = target.warm.by_grpc.load(Ordering::Relaxed);
    let plainly = target.warm.plainly.load(Ordering::Relaxed) || !by_grpc;
    let mut room = AT_A_TIME;
    for member in target.in_use() {
        let endpoint = member.endpoint();
        if *endpoint.address() == Address::InProcess {
            continue;
        }
        let is_http2 = endpoint.protocol() == Protocol::Http2;
        let versions = [(plainly && !is_http2, Version::Http1), (by_grpc || is_http2, Version::Http2)];
        for (_, version) in versions.into_iter().filter(|(is_used, _)| *is_used) {
            room = member.place().pools.keep(endpoint.place(), version, &policy.pool, room);
        }
        if room == 0 {
            return;
        }
    }
}

struct Running(Arc<Keeper>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}
