//! What is known of the endpoints of a service, for people and pages.

use mainstay_discovery::{Health, ServiceName};
use serde::Serialize;

use super::{Policy, census::Census, ejection::Reason, health::Condition, known::Known};

/// The endpoints of one service at one moment, with what their user says of each.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Target<M = ()> {
    /// Which service.
    pub service: ServiceName,
    /// By what they are chosen.
    pub policy: Policy,
    /// How many the registry lists.
    pub listed: u32,
    /// How many of them get no requests until they have shown that they are well.
    pub out: u32,
    /// How many of those are ejected.
    pub ejected: u32,
    /// Whether so many are out that those which are ejected are used all the same.
    pub panic: bool,
    /// Each of them, the preferred ones first.
    pub endpoints: Vec<Endpoint<M>>,
}

/// What is known of one endpoint.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Endpoint<M = ()> {
    /// The place it names, as it is read: `http://10.0.0.7:8080`.
    pub place: String,
    /// Its zone, if that is known.
    pub zone: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// What the registry says of it.
    pub health: Health,
    /// How it is preferred.
    pub tier: Tier,
    /// What the client has found.
    #[serde(flatten)]
    pub state: State,
    /// Requests under way.
    pub in_flight: u32,
    /// The average of its latency in milliseconds; none where nothing was measured.
    pub latency_ms: Option<f64>,
    /// What its user says of what is kept for it.
    #[serde(flatten)]
    pub more: M,
}

/// How an endpoint is preferred: the first tier that has one that is available is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Tier {
    /// In the zone of this client.
    Here,
    /// Elsewhere, or zones don't count.
    Elsewhere,
    /// Outside of the subset of this client.
    Spare,
    /// The registry says that it is about to go.
    Draining,
    /// The registry says that it does not take requests.
    Failing,
}

/// What the client has found out about an endpoint. Times are milliseconds from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case", rename_all_fields = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Nothing is the matter.
    Well,
    /// It gets more and more requests, since so long.
    Starting {
        /// Since when.
        since_ms: u64,
    },
    /// It can't be reached, or breaks connections.
    Unreachable {
        /// How often in a row.
        failures: u32,
        /// When it is probed.
        retry_in_ms: u64,
    },
    /// It answers, and badly.
    Ejected {
        /// Why.
        reason: Reason,
        /// When it is probed.
        retry_in_ms: u64,
    },
    /// The health checks say that it does not work.
    Unhealthy,
    /// It asked to be left alone.
    Paused {
        /// For so long.
        ends_in_ms: u64,
    },
    /// It asked for an end of its connections, as a server that drains does.
    Leaving {
        /// How long that is believed.
        ends_in_ms: u64,
    },
}

const TIERS: [Tier; super::known::TIERS] =
    [Tier::Here, Tier::Elsewhere, Tier::Spare, Tier::Draining, Tier::Failing];

impl<M> Target<M> {
    pub(super) fn new<T>(
        service: ServiceName,
        known: &Known<T>,
        census: &Census,
        more: impl Fn(&T) -> M,
    ) -> Self {
        let now = census.clock.now();
        let tier_of = |index: usize| {
            let mut tiers = known.tiers.iter().zip(TIERS);
            tiers.find(|(tier, _)| tier.range.contains(&index)).map_or(Tier::Failing, |(_, tier)| tier)
        };
        let endpoints =
            known.endpoints.iter().zip(&known.slots).enumerate().map(|(index, (endpoint, slot))| {
                let latency = slot.place.load.latency(now);
                Endpoint {
                    place: endpoint.place().to_string(),
                    zone: endpoint.zone().map(str::to_owned),
                    weight: endpoint.weight(),
                    health: endpoint.health(),
                    tier: tier_of(index),
                    state: State::new(slot.place.health.condition(now), now),
                    in_flight: slot.place.load.in_flight(),
                    latency_ms: (latency > 0.0).then_some(latency / 1e6),
                    more: more(&slot.place),
                }
            });
        Self {
            service,
            policy: known.config.policy,
            listed: census.listed(),
            out: census.out(),
            ejected: census.ejected(),
            panic: census.is_below(known.config.panic_threshold),
            endpoints: endpoints.collect(),
        }
    }
}

impl State {
    /// Its name, as it is serialised.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Starting { .. } => "starting",
            Self::Unreachable { .. } => "unreachable",
            Self::Ejected { .. } => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Paused { .. } => "paused",
            Self::Leaving { .. } => "leaving",
        }
    }

    fn new(condition: Condition, now: u64) -> Self {
        const MILLISECOND: u64 = 1_000_000;
        let left = |until: u64| until.saturating_sub(now).div_ceil(MILLISECOND);
        match condition {
            Condition::Well => Self::Well,
            Condition::Starting { since } => {
                Self::Starting { since_ms: now.saturating_sub(since) / MILLISECOND }
            }
            Condition::Failing { failures, until } => {
                Self::Unreachable { failures, retry_in_ms: left(until) }
            }
            Condition::Ejected { reason, until } => Self::Ejected { reason, retry_in_ms: left(until) },
            Condition::Unhealthy => Self::Unhealthy,
            Condition::Paused { until } => Self::Paused { ends_in_ms: left(until) },
            Condition::Leaving { until } => Self::Leaving { ends_in_ms: left(until) },
        }
    }
}
