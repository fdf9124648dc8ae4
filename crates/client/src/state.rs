//! What a client knows of the services that it calls, for people and pages.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;

use crate::{balance, breaker, pool::Connections, target::Target};

/// A service at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Service {
    /// Its endpoints, and how they are chosen.
    #[serde(flatten)]
    pub balance: balance::state::Target<Kept>,
    /// How long half of the answers took at most, over the last ten to twenty seconds, in milliseconds; none while too
    /// few are known.
    pub median_ms: Option<f64>,
    /// Likewise 95 % of them.
    pub p95_ms: Option<f64>,
    /// Requests sent again so far, within attempts and budget.
    pub repeats: u64,
    /// Requests sent again so far because nothing was done about them, which is neither an attempt nor paid for
    /// ("transparent retries", gRFC A6).
    pub undone: u64,
    /// Requests sent to a second endpoint beside the first so far.
    pub hedges: u64,
    /// Requests that were not, for want of budget.
    pub unpaid: u64,
    /// How many the budget pays for now.
    pub budget: u64,
    /// What the breaker is, where there is one.
    pub breaker: Option<breaker::State>,
}

/// What the client keeps for an endpoint.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Kept {
    /// Its connections.
    pub connections: Connections,
}

/// What is counted for a service.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    repeats: AtomicU64,
    undone: AtomicU64,
    hedges: AtomicU64,
    unpaid: AtomicU64,
}

/// A request that is sent besides those that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    Repeat,
    Undone,
    Hedge,
}

impl Counts {
    pub(crate) fn sent(&self, extra: Extra) {
        let count = match extra {
            Extra::Repeat => &self.repeats,
            Extra::Undone => &self.undone,
            Extra::Hedge => &self.hedges,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unpaid(&self) {
        self.unpaid.fetch_add(1, Ordering::Relaxed);
    }
}

impl Service {
    pub(crate) fn of(target: &Target) -> Self {
        let millis = |took: Duration| took.as_secs_f64() * 1000.0;
        let Counts { repeats, undone, hedges, unpaid } = &target.counts;
        Self {
            balance: target.endpoints(|kept| Kept { connections: kept.pools.connections() }),
            median_ms: target.latency.percentile(0.5).map(millis),
            p95_ms: target.latency.percentile(0.95).map(millis),
            repeats: repeats.load(Ordering::Relaxed),
            undone: undone.load(Ordering::Relaxed),
            hedges: hedges.load(Ordering::Relaxed),
            unpaid: unpaid.load(Ordering::Relaxed),
            budget: target.budget.left(),
            breaker: target.policy().config.breaker.enabled.then(|| target.circuit.state()),
        }
    }
}
