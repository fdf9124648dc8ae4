//! One service that is called: how calls to it are made, and the choice among its endpoints.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName};
use mainstay_core::observe;
use mainstay_discovery::{ServiceName, Watch};

use crate::{
    Config,
    balance::{self, Key, Origin, Picker, check::Check},
    breaker::Circuit,
    latency::Latency,
    limit::Limit,
    pool::{Pools, Settings},
    retry::Budget,
    state::Counts,
    warm::Warm,
};

pub(crate) type Member = balance::Member<Kept>;
pub(crate) type Place = balance::Place<Kept>;
pub(crate) type InFlight = balance::InFlight<Kept>;

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) service: ServiceName,
    pub(crate) budget: Budget,
    pub(crate) latency: Latency,
    pub(crate) circuit: Circuit,
    pub(crate) counts: Counts,
    pub(crate) warm: Warm,
    /// What observes the calls to it, if anything does.
    pub(crate) peer: Option<observe::Peer>,
    policy: ArcSwap<Policy>,
    picker: Picker<Kept>,
}

/// How calls to a service are made.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) config: Config,
    pub(crate) pool: Arc<Settings>,
}

/// What is kept for an endpoint while it is listed.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) pools: Pools,
    pub(crate) limit: Limit,
    /// That of the service, for answers which say at their end whether they pay into it.
    pub(crate) budget: OnceLock<Budget>,
}

impl Target {
    pub(crate) fn new(
        service: ServiceName,
        watch: Watch,
        origin: Origin,
        policy: Policy,
        peer: Option<observe::Peer>,
    ) -> Self {
        let (balance, ejection) = (policy.config.balance.clone(), policy.config.ejection.clone());
        let picker = Picker::new(watch, origin, balance, ejection);
        let (budget, latency) = (Budget::new(), Latency::new());
        let circuit = Circuit::new(policy.config.breaker.clone());
        Self {
            service,
            budget,
            latency,
            circuit,
            counts: Counts::default(),
            warm: Warm::default(),
            peer,
            policy: ArcSwap::from_pointee(policy),
            picker,
        }
    }

    /// How calls to it are made. Loaded once a call, so that one call is made by one policy.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Calls that begin from now on are made so.
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.circuit.reconfigure(policy.config.breaker.clone());
        self.picker.configure(policy.config.balance.clone(), policy.config.ejection.clone());
        self.policy.store(Arc::new(policy));
    }

    /// One endpoint to send a request to, not one of `tried` while there are others. `None` if there are none at all.
    pub(crate) fn choose(&self, tried: &[Arc<Place>], key: Option<Key>) -> Option<Member> {
        self.picker.choose(tried, key)
    }

    /// Likewise, and only one that should get requests now.
    pub(crate) fn choose_available(&self, tried: &[Arc<Place>], key: Option<Key>) -> Option<Member> {
        self.picker.choose_available(tried, key)
    }

    /// The endpoints to check, if that is due.
    pub(crate) fn due_for_check(&self, check: &Check) -> Option<Vec<Member>> {
        self.picker.due_for_check(check)
    }

    /// Its endpoints that get requests now.
    pub(crate) fn in_use(&self) -> Vec<Member> {
        self.picker.in_use()
    }

    /// Where its endpoints come from.
    pub(crate) fn watch(&self) -> &Watch {
        self.picker.watch()
    }

    /// What is known of its endpoints now, with `more` of what is kept for each.
    pub(crate) fn endpoints<M>(&self, more: impl Fn(&Kept) -> M) -> balance::state::Target<M> {
        self.picker.state_with(self.service.clone(), more)
    }
}

impl Policy {
    /// What a consistent hash of a request is made of, where endpoints are chosen by one.
    pub(crate) fn key(&self, headers: &HeaderMap, extensions: &http::Extensions) -> Option<Key> {
        let balance = &self.config.balance;
        if balance.policy != balance::Policy::Hash {
            return None;
        }
        if let Some(key) = extensions.get::<Key>() {
            return Some(*key);
        }
        let name = HeaderName::from_bytes(balance.hash_header.as_ref()?.as_bytes()).ok()?;
        headers.get(name).map(Key::of)
    }
}
