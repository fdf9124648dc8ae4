//! Everything that can go wrong with endpoints, registries and the DNS, under load, and what becomes of the calls
//! (docs/faults.md lists it). The endpoints are processes and count themselves what they were asked to do.
//!
//! Of each fault the tests say how many calls failed, how many attempts there were, and how long a call took at most.
//! For all of them holds: no caller waits longer than the deadline, no POST is done twice, and repeats stay within their
//! budget.

mod daemon;
mod dns;
mod endpoints;
pub(crate) mod fleet;
mod gone;
mod gossip;
mod load;
mod namespace;
mod registry;
mod rolling;
mod wire;

use std::time::Duration;

use mainstay::client::Config;

/// As by default, save that an endpoint which is well again is soon found to be.
fn usual() -> Config {
    let mut config = Config::default();
    config.ejection.time = Duration::from_secs(2).into();
    config
}

/// What a service sets that has to live with all of this.
fn sturdy() -> Config {
    let mut config = usual();
    config.retry.attempt_timeout = ATTEMPT.into();
    config.retry.statuses = vec![500];
    config
}

/// How long an attempt may take: much for an endpoint that is well, on a machine that does other things too.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Calls before a fault and after it, to see that all is well.
const CALM: usize = 100;
/// Calls during a fault.
const MANY: usize = 300;
