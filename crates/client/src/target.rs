//! The endpoints of one service, as the balancer sees them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use mainstay_discovery::{Endpoint, ServiceName, Watch};
use tokio::time::Instant;

use crate::{
    Config,
    balance::{
        self, Candidate,
        ewma::Load,
        health::{Claim, Health},
    },
    breaker::Circuit,
    latency::Latency,
    limit::Limit,
    pool::{Pools, Settings},
    retry::Budget,
};

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) service: ServiceName,
    pub(crate) budget: Budget,
    pub(crate) latency: Latency,
    pub(crate) circuit: Circuit,
    policy: ArcSwap<Policy>,
    watch: Watch,
    members: ArcSwap<Members>,
    /// Held while the members are made anew.
    renewing: Mutex<()>,
}

#[derive(Debug)]
struct Members {
    version: u64,
    all: Vec<Member>,
}

/// How calls to a service are made.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) config: Config,
    pub(crate) pool: Arc<Settings>,
}

/// An endpoint, and what is known of the place it names. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    pub(crate) place: Arc<Place>,
}

/// What outlives changes of the weight of an endpoint.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) load: Load,
    pub(crate) health: Health,
    pub(crate) pools: Pools,
    pub(crate) limit: Limit,
    /// Until when it asked for no requests, in nanoseconds since `epoch`.
    back_at: AtomicU64,
    epoch: Instant,
}

impl Target {
    pub(crate) fn new(service: ServiceName, watch: Watch, policy: Policy) -> Self {
        // The version first: endpoints that are newer than it are only made once more.
        let version = watch.version();
        let all = renew(&[], &watch.snapshot());
        let members = ArcSwap::from_pointee(Members { version, all });
        let (budget, latency) = (Budget::new(), Latency::new());
        let circuit = Circuit::new(policy.config.breaker.clone());
        let policy = ArcSwap::from_pointee(policy);
        Self { service, budget, latency, circuit, policy, watch, members, renewing: Mutex::new(()) }
    }

    /// How calls to it are made. Loaded once a call, so that one call is made by one policy.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Calls that begin from now on are made so.
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.circuit.reconfigure(policy.config.breaker.clone());
        self.policy.store(Arc::new(policy));
    }

    /// One endpoint to send a request to, not one of `tried` while there are others. `None` if there are none at all.
    pub(crate) fn choose(&self, tried: &[Arc<Place>]) -> Option<(Member, Claim)> {
        self.refresh();
        let members = self.members.load();
        let all = &members.all;
        let was_tried = |index: usize| {
            all.get(index)
                .is_some_and(|member: &Member| tried.iter().any(|place| Arc::ptr_eq(place, &member.place)))
        };
        let mut chosen = None;
        // A failing endpoint is probed by one request at a time; whoever is not that one chooses again.
        for _ in 0..3 {
            let index = balance::choose(all, |count| fastrand::usize(..count), was_tried)?;
            let member = all.get(index)?;
            if let Some(claim) = member.place.health.claim() {
                return Some((member.clone(), claim));
            }
            chosen = Some(member);
        }
        chosen.map(|member| (member.clone(), Claim::Ordinary))
    }

    /// Takes over what the registry says, if it has changed: one atomic read if not.
    fn refresh(&self) {
        if self.watch.version() == self.members.load().version {
            return;
        }
        // Who comes while it is being done goes on with what was known.
        let Ok(_renewing) = self.renewing.try_lock() else { return };
        let version = self.watch.version();
        let old = self.members.load_full();
        let all = renew(&old.all, &self.watch.snapshot());
        self.members.store(Arc::new(Members { version, all }));
    }
}

fn renew(old: &[Member], endpoints: &[Endpoint]) -> Vec<Member> {
    let mut places: HashMap<_, Arc<Place>> =
        old.iter().map(|member| (member.endpoint.place(), member.place.clone())).collect();
    let mut all = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let place = places.entry(endpoint.place()).or_insert_with(|| Arc::new(Place::new())).clone();
        all.push(Member { endpoint: endpoint.clone(), place });
    }
    all
}

impl Place {
    fn new() -> Self {
        Self {
            load: Load::new(),
            health: Health::new(),
            pools: Pools::default(),
            limit: Limit::default(),
            back_at: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }

    /// It asked for no requests for so long: others are chosen, where there are any.
    pub(crate) fn pushed_back(&self, delay: Duration) {
        let now = self.epoch.elapsed();
        self.back_at.fetch_max(now.saturating_add(delay).as_nanos() as u64, Ordering::Relaxed);
    }

    fn is_back(&self) -> bool {
        let back_at = self.back_at.load(Ordering::Relaxed);
        back_at == 0 || u128::from(back_at) <= self.epoch.elapsed().as_nanos()
    }
}

impl Candidate for Member {
    fn is_available(&self) -> bool {
        self.place.is_back() && self.place.health.is_available()
    }

    fn cost(&self) -> f64 {
        self.place.load.cost() / f64::from(self.endpoint.weight())
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::task::Tasks;
    use mainstay_discovery::watch::Publisher;

    use super::*;

    fn policy() -> Policy {
        let config = Config::default();
        let pool = Arc::new(Settings { config: config.pool.clone(), tasks: Tasks::new() });
        Policy { config, pool }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_keeps_what_is_known_of_it_while_it_is_listed() {
        let publisher = Publisher::new();
        let target = Target::new("stock".parse().unwrap(), publisher.watch(), policy());
        assert!(target.choose(&[]).is_none());

        publisher.publish([Endpoint::tcp("a", 1)]);
        let (first, _) = target.choose(&[]).unwrap();
        publisher.publish([Endpoint::tcp("a", 1).with_weight(7), Endpoint::tcp("b", 1)]);
        let (other, _) = target.choose(std::slice::from_ref(&first.place)).unwrap();
        assert_eq!(other.endpoint.address().to_string(), "b:1", "the one that was not tried");
        publisher.publish([Endpoint::tcp("a", 1).with_weight(9)]);
        let (again, _) = target.choose(&[]).unwrap();
        assert!(Arc::ptr_eq(&first.place, &again.place));
        publisher.publish([]);
        assert!(target.choose(&[]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_endpoint_is_avoided_but_never_lost() {
        let publisher = Publisher::new();
        publisher.publish([Endpoint::tcp("a", 1), Endpoint::tcp("b", 1)]);
        let target = Target::new("stock".parse().unwrap(), publisher.watch(), policy());
        let (failing, claim) = target.choose(&[]).unwrap();
        failing.place.health.failed(claim);
        for _ in 0..100 {
            let (chosen, _) = target.choose(&[]).unwrap();
            assert!(!Arc::ptr_eq(&failing.place, &chosen.place));
        }
        // The other one fails too: any is better than none.
        let (other, claim) = target.choose(&[]).unwrap();
        other.place.health.failed(claim);
        assert!(target.choose(&[]).is_some());

        tokio::time::advance(std::time::Duration::from_secs(5)).await;
        let back = (0..100).any(|_| Arc::ptr_eq(&failing.place, &target.choose(&[]).unwrap().0.place));
        assert!(back);
    }
}
