//! What was read from a registry.

use std::{borrow::Cow, sync::Arc};

use super::{Definition, Exemplar};

/// What an instrument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Counted up and down.
    UpDownCounter,
    /// What it was last set to.
    Gauge,
    /// Values by bucket.
    Histogram,
}

/// One metric with all its series, in the order of their labels.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// As in its [`Definition`].
    pub name: Cow<'static, str>,
    /// As in its [`Definition`].
    pub unit: Cow<'static, str>,
    /// As in its [`Definition`].
    pub description: Cow<'static, str>,
    /// What it is.
    pub kind: Kind,
    /// Its series.
    pub series: Vec<Series>,
}

impl Metric {
    pub(super) fn new(definition: &Definition, kind: Kind, series: Vec<Series>) -> Self {
        let owned = |text: &str| Cow::Owned(text.to_owned());
        Self {
            name: owned(definition.name()),
            unit: owned(definition.unit()),
            description: owned(definition.description()),
            kind,
            series,
        }
    }
}

/// One series: its labels, and what was read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// What was read.
    pub point: Point,
}

impl Series {
    pub(super) fn new(labels: Labels, point: Point) -> Self {
        Self { labels, point }
    }
}

/// Names and values, in the order of the definition; an empty value is as if the label were not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Labels(Vec<(&'static str, Arc<str>)>);

impl Labels {
    /// Those with a value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value)).filter(|(_, value)| !value.is_empty())
    }

    /// The value of this label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}

impl FromIterator<(&'static str, Arc<str>)> for Labels {
    fn from_iter<T: IntoIterator<Item = (&'static str, Arc<str>)>>(labels: T) -> Self {
        Self(labels.into_iter().collect())
    }
}

/// What an instrument said.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Point {
    /// Of a counter.
    Counter(u64),
    /// Of everything else that is one number.
    Number(f64),
    /// Of a histogram.
    Histogram(Buckets),
}

/// The buckets of a histogram.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Buckets {
    /// The upper bounds, each in its bucket.
    pub bounds: Arc<[f64]>,
    /// How many are in each bucket, not added up; the last is for what is above all bounds.
    pub counts: Vec<u64>,
    /// All values together.
    pub sum: f64,
    /// The last example of each bucket, where there is one.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl Buckets {
    /// How many there are in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}
