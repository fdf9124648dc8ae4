//! Which requests are recorded: `trace` of the configuration.

use mainstay_core::{
    config::{Duration, Findings, Section},
    trace::{Keep, Sampler, Sink, Tracer},
};
use serde::{Deserialize, Serialize};

/// `[trace]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The share of the traces beginning here that is recorded, 0.0 to 1.0. Default 1.0.
    pub share: f64,
    /// How many of them each second at most. Default: not limited.
    pub per_second: Option<u32>,
    /// Whether what the caller decided holds. Default: true.
    pub parent_based: bool,
    /// Whether requests that fail by a fault of the service have a span where their trace has none. Default: false.
    pub keep_errors: bool,
    /// Whether those that take longer have one. Default `0s`: no.
    pub keep_slower_than: Duration,
}

impl Config {
    /// Records so, for `sink`.
    #[must_use]
    pub fn tracer(&self, sink: impl Sink) -> Tracer {
        let mut sampler = Sampler::share(self.share);
        if let Some(per_second) = self.per_second {
            sampler = sampler.at_most(per_second);
        }
        if !self.parent_based {
            sampler = sampler.regardless_of_parents();
        }
        let mut keep = Keep::default().errors(self.keep_errors);
        if !self.keep_slower_than.is_zero() {
            keep = keep.slower_than(self.keep_slower_than.get());
        }
        Tracer::new(sampler, sink).keeping(keep)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            share: 1.0,
            per_second: None,
            parent_based: true,
            keep_errors: false,
            keep_slower_than: Duration::ZERO,
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if !(0.0..=1.0).contains(&self.share) {
            findings.reject("share", "a number from 0.0 to 1.0");
        }
    }
}
