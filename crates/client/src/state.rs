//! What a client knows of the services that it calls, for people and pages.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use mainstay_core::metrics::{Definition, Observations};
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
    /// Tells the metrics of it: endpoints by what is the matter with them, connections, what was sent besides what was
    /// asked for, the breaker.
    pub(crate) fn observe(&self, to: &mut Observations) {
        let peer = ("peer.service", self.balance.service.as_str());
        let endpoints = Definition::new("mainstay.client.endpoints", "{endpoint}", "Endpoints, by state");
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let mut states: BTreeMap<&str, i64> = BTreeMap::new();
        let mut kept = Connections::default();
        for endpoint in &self.balance.endpoints {
            *states.entry(endpoint.state.as_str()).or_default() += 1;
            let own = endpoint.more.connections;
            kept.http1_idle += own.http1_idle;
            kept.http2 += own.http2;
            kept.opening += own.opening;
        }
        for (state, number) in states {
            to.up_down_counter(&endpoints, [peer, ("state", state)], number);
        }
        let connections =
            Definition::new("mainstay.client.connections", "{connection}", "Connections, by state");
        for (state, number) in
            [("http1_idle", kept.http1_idle), ("http2", kept.http2), ("opening", kept.opening)]
        {
            to.up_down_counter(&connections, [peer, ("state", state)], count(number));
        }
        let more = Definition::new(
            "mainstay.client.extra_attempts",
            "{attempt}",
            "Attempts besides the first, by why",
        );
        for (why, number) in [("retry", self.repeats), ("hedge", self.hedges)] {
            to.counter(&more, [peer, ("reason", why)], number);
        }
        let unpaid = Definition::new(
            "mainstay.client.budget_exhausted",
            "{attempt}",
            "Attempts that the budget forbade",
        );
        to.counter(&unpaid, [peer], self.unpaid);
        // Also where none is enabled, so that an alert on it is one of a metric that is there.
        let open = Definition::new("mainstay.client.breaker.open", "", "Whether calls are refused");
        let refuses = self.breaker == Some(breaker::State::Open);
        to.gauge(&open, [peer], f64::from(u8::from(refuses)));
    }

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
