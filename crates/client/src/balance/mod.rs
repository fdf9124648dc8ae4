//! Which endpoint: chosen anew for each attempt, among those that the registry lists.
//!
//! | module | holds |
//! |---|---|
//! | `picker` | the choice: takes over what the registry says, and asks the policy |
//! | `service` | the choice as a tower service: [`Balance`] |
//! | `known` | the endpoints in the order in which they are preferred: zone, subset, health as the registry says |
//! | `choice` | the policies: draws for two choices, turns, the table of a consistent hash |
//! | `place` | what is known of an endpoint while it is listed, and a request to it |
//! | `ewma` | its load |
//! | `health` | whether it is passed over |
//! | [`ejection`] | when one that answers badly is taken out |
//! | [`check`] | health checks: what they ask, and what their results add up to |
//! | `census` | what is counted over all |
//! | `key` | what a consistent hash is made of |
//! | [`state`] | what is known of them, for people and pages |
//!
//! Two endpoints are drawn, the one with the lower cost is taken (Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 2001): nearly as even as asking all, without the herd that follows the best one. So a
//! choice costs the same among two and among ten thousand. What is made of the endpoints when they change is made by one
//! caller, away from the others: they go on with what was known.

mod census;
pub mod check;
mod choice;
pub mod ejection;
mod ewma;
mod health;
mod key;
mod known;
mod picker;
mod place;
mod service;
pub mod state;

use http::HeaderName;
use mainstay_core::config::{Duration, Findings, Section};

pub use key::Key;
pub use picker::{Origin, Picker};
pub use place::{InFlight, Member, Place};
pub use service::{Balance, ResponseFuture, Verdict, by_result};

use crate::config::layered::layered;

layered! {
    /// The table `client.balance`: which endpoint gets a request.
    values {
        /// By what an endpoint is chosen. Default `peak-ewma`.
        policy: Policy = Policy::PeakEwma,
        /// Where the policy is `hash`: the header whose value is the key, for requests that have no
        /// [`Key`] of their own. Default: none.
        hash_header: Option<String> = None,
        /// Where the policy is `hash`: an endpoint gets at most so many times its share of the requests under way; what is
        /// above goes to the next one. At least 1. Default 1.25.
        hash_bound: f64 = 1.25,
        /// Whether endpoints in the zone of this client are preferred. Default true.
        prefer_zone: bool = true,
        /// A request leaves the zone when the endpoint there would cost so many times what one elsewhere does. Default 2.
        zone_spill: f64 = 2.0,
        /// How many of the endpoints this client uses, chosen by its id; 0 for all. Default 0.
        subset: usize = 0,
        /// How long a new endpoint, or one that comes back, takes to get its whole share; 0 for at once. Default `10s`.
        slow_start: Duration = Duration::from_secs(10),
        /// While fewer than this share of the endpoints are well, those that are ejected are used all the same, between 0
        /// and 1. Default 0.5.
        panic_threshold: f64 = 0.5,
        /// Whether endpoints are asked if they work, besides being called. Default: no.
        health_check: Option<check::Check> = None,
    }
}

/// By what an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Policy {
    /// Of two that are drawn, the one where requests in flight times latency is less; the latency is an average that
    /// follows peaks at once.
    #[default]
    PeakEwma,
    /// Of two that are drawn, the one with fewer requests in flight.
    LeastRequest,
    /// In turn, by weight.
    RoundRobin,
    /// By the key of the request; without one as [`Policy::PeakEwma`]. Zones and subsets don't count, since all clients
    /// should agree.
    Hash,
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if let Some(header) = &self.hash_header
            && HeaderName::from_bytes(header.as_bytes()).is_err()
        {
            findings.reject("hash_header", "the name of a header");
        }
        if self.hash_bound.is_nan() || self.hash_bound < 1.0 {
            findings.reject("hash_bound", "at least 1");
        }
        if self.zone_spill.is_nan() || self.zone_spill < 1.0 {
            findings.reject("zone_spill", "at least 1");
        }
        if !(0.0..=1.0).contains(&self.panic_threshold) {
            findings.reject("panic_threshold", "a share between 0 and 1");
        }
        if let Some(check) = &self.health_check {
            findings.within("health_check", |findings| check.check(findings));
        }
    }
}
