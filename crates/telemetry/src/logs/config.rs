//! `log` of the configuration.

use mainstay_core::config::{Findings, Keys, Section};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

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

    /// To this output.
    #[must_use]
    pub fn with_output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { format: Format::Auto, filter: "info".to_owned(), output: Output::Stdout, access: false }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if let Some(word) = bare(&self.filter) {
            findings.reject("filter", format_args!("{EXPECTED}; `{word}` is no level"));
        } else if parse(&self.filter).is_err() {
            findings.reject("filter", EXPECTED);
        }
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
