use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

use arc_swap::ArcSwap;

use super::{Counter, Definition, Gauge, Histogram, Kind, Labels, Metric, Point, Series, UpDownCounter};

/// A kind of instrument: [`Counter`], [`UpDownCounter`], [`Gauge`] or [`Histogram`].
pub trait Instrument: sealed::Sealed + Clone + Send + Sync + 'static {
    /// Which.
    const KIND: Kind;

    #[doc(hidden)]
    fn make(definition: &Definition) -> Self;

    #[doc(hidden)]
    fn read(&self) -> Point;
}

mod sealed {
    #[expect(unnameable_types, reason = "nobody is to name it")]
    pub trait Sealed {}

    impl Sealed for super::Counter {}
    impl Sealed for super::UpDownCounter {}
    impl Sealed for super::Gauge {}
    impl Sealed for super::Histogram {}
}

/// The label of the series that counts what is beyond the limit, from the specification of OpenTelemetry's metrics SDK.
const OVERFLOW: (&str, &str) = ("otel.metric.overflow", "true");

/// The series of one name, each with `N` labels. Clones are the same family.
pub struct Family<I, const N: usize>(Arc<Inner<I, N>>);

struct Inner<I, const N: usize> {
    definition: Definition,
    labels: [&'static str; N],
    /// Read without a lock; changed under `growing`.
    series: ArcSwap<HashMap<Box<str>, One<I, N>>>,
    growing: Mutex<()>,
    overflow: OnceLock<I>,
}

struct One<I, const N: usize> {
    values: [Arc<str>; N],
    instrument: I,
}

impl<I: Clone, const N: usize> Clone for One<I, N> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), instrument: self.instrument.clone() }
    }
}

impl<I: Instrument, const N: usize> Family<I, N> {
    pub(super) fn new(definition: Definition, labels: [&'static str; N]) -> Self {
        Self(Arc::new(Inner {
            definition,
            labels,
            series: ArcSwap::default(),
            growing: Mutex::new(()),
            overflow: OnceLock::new(),
        }))
    }

    /// The instrument with these values for the labels; the one of the overflow, where there are too many series. This
    /// looks it up: keep what it gives where it is used often.
    #[must_use]
    pub fn with(&self, values: [&str; N]) -> I {
        let key = key(&values);
        match self.0.series.load().get(&*key) {
            Some(one) => one.instrument.clone(),
            // What is full stays so: no lock for what comes beyond.
            None => self.0.overflow.get().cloned().unwrap_or_else(|| self.grow(&key, values)),
        }
    }

    /// What it is called, and what it means.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.0.definition
    }

    #[cold]
    fn grow(&self, key: &str, values: [&str; N]) -> I {
        let inner = &*self.0;
        // It holds nothing that a panic could have left half done.
        let _growing = inner.growing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = inner.series.load();
        if let Some(one) = known.get(key) {
            return one.instrument.clone();
        }
        if known.len() >= inner.definition.limit() {
            return inner.overflow.get_or_init(|| self.overflow()).clone();
        }
        let one = One { values: values.map(Arc::from), instrument: I::make(&inner.definition) };
        let instrument = one.instrument.clone();
        let mut more = HashMap::clone(&known);
        more.insert(key.into(), one);
        inner.series.store(Arc::new(more));
        instrument
    }

    fn overflow(&self) -> I {
        let definition = &self.0.definition;
        tracing::warn!(
            metric = definition.name(),
            limit = definition.limit(),
            "too many different labels: what is new is counted as {}=\"{}\"",
            OVERFLOW.0,
            OVERFLOW.1
        );
        I::make(definition)
    }

    pub(super) fn read(&self) -> Metric {
        let inner = &*self.0;
        let of = |one: &One<I, N>| Series {
            labels: Labels::from_iter(inner.labels.iter().zip(&one.values).map(|(n, v)| (*n, Arc::clone(v)))),
            point: one.instrument.read(),
        };
        let mut series: Vec<Series> = inner.series.load().values().map(of).collect();
        series.sort_by(|one, other| one.labels.cmp(&other.labels));
        series.extend(inner.overflow.get().map(|instrument| Series {
            labels: Labels::from_iter([(OVERFLOW.0, Arc::from(OVERFLOW.1))]),
            point: instrument.read(),
        }));
        Metric::new(&inner.definition, I::KIND, series)
    }

    /// Whether it is what was asked for: then both are the same.
    pub(super) fn is(&self, definition: &Definition, labels: [&'static str; N]) -> bool {
        let (own, labels_fit) = (&self.0.definition, self.0.labels == labels);
        labels_fit && own.unit() == definition.unit() && own.bounds() == definition.bounds()
    }
}

impl<I: Instrument> Family<I, 0> {
    /// The one instrument of a family without labels.
    #[must_use]
    pub fn only(&self) -> I {
        self.with([])
    }
}

/// Values joined so that different ones stay different; one is its own key.
fn key<'a>(values: &[&'a str]) -> Cow<'a, str> {
    match values {
        [] => Cow::Borrowed(""),
        [one] => Cow::Borrowed(one),
        more => {
            let mut key = String::with_capacity(more.iter().map(|value| value.len() + 5).sum());
            for value in more {
                use fmt::Write as _;
                // Writing to a string can't fail.
                let _ = write!(key, "{}:{value}", value.len());
            }
            Cow::Owned(key)
        }
    }
}

impl<I, const N: usize> Clone for Family<I, N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I, const N: usize> fmt::Debug for Family<I, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family")
            .field("name", &self.0.definition.name())
            .field("labels", &self.0.labels)
            .finish_non_exhaustive()
    }
}
