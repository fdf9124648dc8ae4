use serde::{Deserialize, Serialize};

use crate::{
    config::{Duration, Findings, Section},
    context::Criticality,
};

/// How the limit on the requests in flight is found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Response times up to this are never taken for a queue: a standing queue this short hurts nobody, and callers
    /// who send many requests at once are not refused for it (the *target* of CoDel, RFC 8289). Keep it well below
    /// the deadlines of the callers. Default: 100 ms.
    pub target: Duration,
    /// The limit before anything was measured, in requests. Default: 512.
    pub initial: u32,
    /// The limit never falls below this, in requests. Default: 4.
    pub min: u32,
    /// The limit never rises above this, in requests. Default: 10,000.
    pub max: u32,
    /// How much longer than without a queue a request may take, as a factor, before the limit falls, where that is more
    /// than `target`. Larger values
    /// use the service up better and make its callers wait longer. 1.1 to 10. Default: 1.5.
    pub tolerance: f64,
    /// The shortest time over which response times are gathered. Default: 100 ms.
    pub window: Duration,
    /// How often the response time without a queue is measured anew while the limit is in use. Default: 30 s.
    pub probe_interval: Duration,
    /// A body that is made while it is sent takes up room for one to two times this. Default: 1 s.
    pub body_hold: Duration,
    /// What refused callers are told to wait. Default: 1 s.
    pub retry_after: Duration,
    /// How much of the limit each class of criticality may use.
    pub shares: Shares,
}

/// The share of the limit that requests of a class may use, in percent. `critical-plus` may always use all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Shares {
    /// `sheddable`. 1 to 100. Default: 50.
    pub sheddable: u8,
    /// `sheddable-plus`. 1 to 100. Default: 70.
    pub sheddable_plus: u8,
    /// `critical`, which requests are unless they say otherwise. 1 to 100. Default: 90.
    pub critical: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(100),
            initial: 512,
            min: 4,
            max: 10_000,
            tolerance: 1.5,
            window: Duration::from_millis(100),
            probe_interval: Duration::from_secs(30),
            body_hold: Duration::from_secs(1),
            retry_after: Duration::from_secs(1),
            shares: Shares::default(),
        }
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self { sheddable: 50, sheddable_plus: 70, critical: 90 }
    }
}

impl Shares {
    /// How many of `limit` requests in flight may be of this class or a lesser one; at least one.
    pub(super) fn of(self, limit: u32, criticality: Criticality) -> u32 {
        let percent = match criticality {
            Criticality::Sheddable => self.sheddable,
            Criticality::SheddablePlus => self.sheddable_plus,
            Criticality::Critical => self.critical,
            Criticality::CriticalPlus => 100,
        };
        let share = u64::from(limit) * u64::from(percent.min(100)) / 100;
        u32::try_from(share).unwrap_or(limit).max(1)
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if self.min == 0 {
            findings.reject("min", "at least 1");
        }
        if self.min > self.initial {
            findings.reject("min", format_args!("at most `initial` ({})", self.initial));
        }
        if self.initial > self.max {
            findings.reject("initial", format_args!("at most `max` ({})", self.max));
        }
        if !(1.1..=10.0).contains(&self.tolerance) {
            findings.reject("tolerance", "1.1 to 10");
        }
        for (key, duration) in
            [("window", self.window), ("probe_interval", self.probe_interval), ("body_hold", self.body_hold)]
        {
            if duration == Duration::ZERO {
                findings.reject(key, "more than 0s");
            }
        }
        let Shares { sheddable, sheddable_plus, critical } = self.shares;
        for (key, percent) in [
            ("shares.sheddable", sheddable),
            ("shares.sheddable_plus", sheddable_plus),
            ("shares.critical", critical),
        ] {
            if !(1..=100).contains(&percent) {
                findings.reject(key, "1 to 100 (percent)");
            }
        }
        if sheddable > sheddable_plus || sheddable_plus > critical {
            findings.reject("shares", "a more important class may use no less than a lesser one");
        }
    }
}
