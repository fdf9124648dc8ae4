//! `log` of the configuration.

use mainstay_core::config::{Findings, Keys, Section};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::repeats;
use crate::redact::Redact;

/// What `filter` should be.
pub(super) const EXPECTED: &str = "directives such as `info` or `info,shop=debug,hyper=warn`";

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// How lines look: `auto` (default), `text` or `json`.
    pub format: Format,
    /// Which events are logged: directives `target=level`, and a level for all other targets, from `off`, `error`,
    /// `warn`, `info`, `debug`, `trace`. Default `info`. `RUST_LOG` goes before it. Reloadable.
    pub filter: String,
    /// Where lines go: `stdout` (default) or `stderr`.
    pub output: Output,
    /// Whether each request has a line at its end: target `mainstay::access`, level `info`. Default: false.
    pub access: bool,
    /// Which spans and events of `tracing` are in the trace of a request that is recorded: directives as for `filter`,
    /// which has no say in it. Default `info`; `off`: none.
    pub spans: String,
    /// Fields whose values are left out of lines and spans, by name. Default: `password`, `authorization`, `token` and
    /// others that are secrets by their name.
    pub redact: Redact,
    /// What becomes of lines that repeat.
    pub repeats: repeats::Config,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// Text if the output is a terminal, else JSON.
    #[default]
    Auto,
    /// For people; coloured on a terminal unless `NO_COLOR` is set.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Output {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

impl Config {
    /// In this format.
    #[must_use]
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// With these directives.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = filter.into();
        self
    }

    /// With these directives for spans.
    #[must_use]
    pub fn with_spans(mut self, spans: impl Into<String>) -> Self {
        self.spans = spans.into();
        self
    }

    /// Without the values of these fields.
    #[must_use]
    pub fn with_redact(mut self, redact: Redact) -> Self {
        self.redact = redact;
        self
    }

    /// With this done to lines that repeat.
    #[must_use]
    pub fn with_repeats(mut self, repeats: repeats::Config) -> Self {
        self.repeats = repeats;
        self
    }

    /// To this output.
    #[must_use]
    pub fn with_output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Auto,
            filter: "info".to_owned(),
            output: Output::Stdout,
            access: false,
            spans: "info".to_owned(),
            redact: Redact::default(),
            repeats: repeats::Config::default(),
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        for (key, directives) in [("filter", &self.filter), ("spans", &self.spans)] {
            if let Some(word) = bare(directives) {
                findings.reject(key, format_args!("{EXPECTED}; `{word}` is no level"));
            } else if parse(directives).is_err() {
                findings.reject(key, EXPECTED);
            }
        }
        for (index, _) in self.redact.wrong() {
            findings.reject(&format!("redact[{index}]"), "the name of a field, without spaces");
        }
        findings.within("repeats", |findings| self.repeats.check(findings));
    }

    fn reloadable(keys: &mut Keys) {
        keys.add("filter");
    }
}

/// A directive that is a name alone, and no level. To the filter it is a target with all its events and nothing else:
/// `inof` would silence the process.
pub(super) fn bare(directives: &str) -> Option<&str> {
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':'));
    let words = directives.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.filter(plain).find(|word| word.parse::<LevelFilter>().is_err())
}

/// Reads directives.
pub(super) fn parse(directives: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().parse(directives)
}
