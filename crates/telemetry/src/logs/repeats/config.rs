//! `log.repeats` of the configuration.

use mainstay_core::config::{Duration, Findings, Section};
use serde::{Deserialize, Serialize};

/// `[log.repeats]`: lines of one place in the code that are more than anybody reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// So many lines of one place in the code are written within a window; those beyond are counted, and told as one line
    /// at its end. 0: all are written. Default 100.
    pub limit: u32,
    /// How long a window is. Default 1 s.
    pub window: Duration,
    /// Targets whose lines are all written, and those below them. Default `mainstay::access`, whose lines are one place's
    /// and each another request's, and `log`, which is that of all that comes from the crate of this name.
    pub except: Vec<String>,
}

/// An hour: what is not told for longer is as good as lost.
const LONGEST: Duration = Duration::from_secs(3600);

impl Config {
    /// With all lines written.
    #[must_use]
    pub fn off() -> Self {
        Self { limit: 0, ..Self::default() }
    }

    /// With so many lines a window.
    #[must_use]
    pub fn with_limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Whether lines of this target are all written.
    pub(super) fn excepts(&self, target: &str) -> bool {
        self.except.iter().any(|own| {
            target.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        let except = ["mainstay::access", "log"].map(str::to_owned).to_vec();
        Self { limit: 100, window: Duration::from_secs(1), except }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if self.window.is_zero() || self.window > LONGEST {
            findings.reject("window", format_args!("more than 0s, at most {LONGEST}"));
        }
        for (index, target) in self.except.iter().enumerate() {
            if target.is_empty() || target.contains(char::is_whitespace) {
                findings.reject(&format!("except[{index}]"), "a target such as `shop::audit`");
            }
        }
    }
}
