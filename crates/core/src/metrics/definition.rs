use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

/// The bounds that the semantic conventions of OpenTelemetry advise for durations, in seconds.
pub const SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// At most this many series, where nothing else is said: OpenTelemetry's default.
const LIMIT: usize = 2000;

/// What a metric is called, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    name: Cow<'static, str>,
    unit: Cow<'static, str>,
    description: Cow<'static, str>,
    limit: usize,
    bounds: Arc<[f64]>,
}

/// A definition that can't be used; it says which, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The name is none.
    #[error(
        "`{0}` can't be the name of a metric: expected lower-case letters, digits, `.` and `_`, a letter first, at most 128 in all"
    )]
    Name(String),
    /// A label has no name, or one that is there twice.
    #[error(
        "metric `{metric}`: `{label}` can't be a label: expected lower-case letters, digits, `.` and `_`, a letter first, each once"
    )]
    Label {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
    },
    /// The bounds of the histogram are none.
    #[error("metric `{0}`: expected at least one bound, each a number and greater than the one before")]
    Bounds(String),
    /// There is one of this name already, and it is not the same.
    #[error("metric `{0}` is there already, as another kind or with other labels, unit or bounds")]
    Taken(String),
}

impl Definition {
    /// At most 2,000 series; [`SECONDS`] as bounds, if it is a histogram.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        unit: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        static BOUNDS: LazyLock<Arc<[f64]>> = LazyLock::new(|| Arc::new(SECONDS));
        Self {
            name: name.into(),
            unit: unit.into(),
            description: description.into(),
            limit: LIMIT,
            bounds: Arc::clone(&BOUNDS),
        }
    }

    /// With at most `limit` series, and one for all beyond.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// With these upper bounds of a histogram's buckets.
    #[must_use]
    pub fn with_bounds(mut self, bounds: impl Into<Arc<[f64]>>) -> Self {
        self.bounds = bounds.into();
        self
    }

    /// Words with dots, such as `http.server.request.duration`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// By UCUM: `s`, `By`, `1`, `{order}`.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// What it means.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How many series it can have.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The upper bounds of a histogram's buckets.
    #[must_use]
    pub fn bounds(&self) -> &Arc<[f64]> {
        &self.bounds
    }

    pub(super) fn check(&self, labels: &[&'static str]) -> Result<(), Rejected> {
        let name = || self.name.clone().into_owned();
        if !is_name(&self.name) {
            return Err(Rejected::Name(name()));
        }
        for (index, label) in labels.iter().enumerate() {
            if !is_name(label) || labels[..index].contains(label) {
                return Err(Rejected::Label { metric: name(), label: (*label).to_owned() });
            }
        }
        let rises = self.bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if self.bounds.is_empty() || !rises || self.bounds.iter().any(|bound| !bound.is_finite()) {
            return Err(Rejected::Bounds(name()));
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_');
    name.len() <= 128 && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(fits)
}
