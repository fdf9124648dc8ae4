use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{
    Counter, Definition, Family, Gauge, Histogram, Instrument, Kind, Labels, Metric, Point, Rejected, Series,
    UpDownCounter,
};
use crate::clock;

/// The metrics of a process. Clones are the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    since: SystemTime,
    families: Mutex<BTreeMap<String, Registered>>,
    sources: Mutex<Vec<Source>>,
}

/// A family of a registry, whether or not anything was measured.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// What it is called, and what it means.
    pub definition: Definition,
    /// What its instruments are.
    pub kind: Kind,
    /// The labels that its series can have.
    pub labels: Vec<&'static str>,
}

type Source = Arc<dyn Fn(&mut Observations) + Send + Sync>;

struct Registered {
    description: Description,
    /// The `Family`.
    family: Arc<dyn Any + Send + Sync>,
    read: Box<dyn Fn() -> Metric + Send + Sync>,
}

impl Registry {
    /// Without metrics.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner { since: clock::wall(), families: Mutex::default(), sources: Mutex::default() }))
    }

    /// Counters of this name; those that are there already, if they are the same.
    ///
    /// # Errors
    /// [`Rejected`] for a name, label or bound that is none, and where the name is taken by something else. So it is for
    /// the other instruments.
    pub fn counter<const N: usize>(
        &self,
        definition: Definition,
        labels: [&'static str; N],
    ) -> Result<Family<Counter, N>, Rejected> {
        self.family(definition, labels)
    }

    /// Counters that go up and down.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn up_down_counter<const N: usize>(
        &self,
        definition: Definition,
        labels: [&'static str; N],
    ) -> Result<Family<UpDownCounter, N>, Rejected> {
        self.family(definition, labels)
    }

    /// Gauges.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn gauge<const N: usize>(
        &self,
        definition: Definition,
        labels: [&'static str; N],
    ) -> Result<Family<Gauge, N>, Rejected> {
        self.family(definition, labels)
    }

    /// Histograms.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn histogram<const N: usize>(
        &self,
        definition: Definition,
        labels: [&'static str; N],
    ) -> Result<Family<Histogram, N>, Rejected> {
        self.family(definition, labels)
    }

    /// Asks `source` each time the registry is read: for what is counted elsewhere already.
    pub fn observe(&self, source: impl Fn(&mut Observations) + Send + Sync + 'static) {
        locked(&self.0.sources).push(Arc::new(source));
    }

    /// Everything, by name.
    #[must_use]
    pub fn read(&self) -> Vec<Metric> {
        let mut all: BTreeMap<String, Metric> = locked(&self.0.families)
            .iter()
            .map(|(name, registered)| (name.clone(), (registered.read)()))
            .collect();
        // Not while the lock is held: a source may look something up.
        let sources = locked(&self.0.sources).clone();
        let mut observations = Observations(BTreeMap::new());
        sources.iter().for_each(|source| source(&mut observations));
        for (name, metric) in observations.0 {
            all.entry(name).or_insert(metric);
        }
        all.into_values().filter(|metric| !metric.series.is_empty()).collect()
    }

    /// The families, by name; not what its sources tell.
    #[must_use]
    pub fn describe(&self) -> Vec<Description> {
        locked(&self.0.families).values().map(|registered| registered.description.clone()).collect()
    }

    /// The time of day, by the clock that [`Self::since`] is read from.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        clock::wall()
    }

    /// Since when it counts.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.0.since
    }

    fn family<I: Instrument, const N: usize>(
        &self,
        definition: Definition,
        labels: [&'static str; N],
    ) -> Result<Family<I, N>, Rejected> {
        definition.check(&labels)?;
        let mut families = locked(&self.0.families);
        if let Some(registered) = families.get(definition.name()) {
            let same = registered.family.downcast_ref::<Family<I, N>>();
            return match same.filter(|family| family.is(&definition, labels)) {
                Some(family) => Ok(family.clone()),
                None => Err(Rejected::Taken(definition.name().to_owned())),
            };
        }
        let name = definition.name().to_owned();
        let description =
            Description { definition: definition.clone(), kind: I::KIND, labels: labels.to_vec() };
        let family = Family::new(definition, labels);
        let read = {
            let family = family.clone();
            Box::new(move || family.read())
        };
        families.insert(name, Registered { description, family: Arc::new(family.clone()), read });
        Ok(family)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(locked(&self.0.families).keys()).finish()
    }
}

/// Nothing that is behind these locks can be half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the sources of a registry say when it is read.
#[derive(Debug)]
pub struct Observations(BTreeMap<String, Metric>);

impl Observations {
    /// A counter has this value.
    pub fn counter<const N: usize>(
        &mut self,
        definition: &Definition,
        labels: [(&'static str, &str); N],
        value: u64,
    ) {
        self.put(definition, Kind::Counter, labels, Point::Counter(value));
    }

    /// A counter of seconds has this value.
    pub fn seconds<const N: usize>(
        &mut self,
        definition: &Definition,
        labels: [(&'static str, &str); N],
        seconds: f64,
    ) {
        self.put(definition, Kind::Counter, labels, Point::Number(seconds));
    }

    /// A gauge has this value.
    pub fn gauge<const N: usize>(
        &mut self,
        definition: &Definition,
        labels: [(&'static str, &str); N],
        value: f64,
    ) {
        self.put(definition, Kind::Gauge, labels, Point::Number(value));
    }

    /// A counter that goes up and down has this value.
    pub fn up_down_counter<const N: usize>(
        &mut self,
        definition: &Definition,
        labels: [(&'static str, &str); N],
        value: i64,
    ) {
        self.put(definition, Kind::UpDownCounter, labels, Point::Number(value as f64));
    }

    fn put<const N: usize>(
        &mut self,
        definition: &Definition,
        kind: Kind,
        labels: [(&'static str, &str); N],
        point: Point,
    ) {
        let metric = self
            .0
            .entry(definition.name().to_owned())
            .or_insert_with(|| Metric::new(definition, kind, Vec::new()));
        if metric.kind == kind && metric.series.len() < definition.limit() {
            let labels = labels.into_iter().map(|(name, value)| (name, Arc::from(value)));
            metric.series.push(Series::new(Labels::from_iter(labels), point));
        }
    }
}
