use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use super::{
    Definition, Instrument, Kind, Point,
    shard::{Shards, Sum},
};

/// How many of something there are, counted up and down. Clones count together.
#[derive(Debug, Clone)]
pub struct UpDownCounter(Arc<Shards<AtomicI64>>);

impl UpDownCounter {
    /// Counts `more`, which may be negative.
    pub fn add(&self, more: i64) {
        self.0.mine().fetch_add(more, Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> i64 {
        // What one thread counted up another one may count down.
        self.0.iter().map(|shard| shard.load(Relaxed)).fold(0, i64::wrapping_add)
    }
}

impl Instrument for UpDownCounter {
    const KIND: Kind = Kind::UpDownCounter;

    fn make(_: &Definition) -> Self {
        Self(Arc::new(Shards::new(AtomicI64::default)))
    }

    fn read(&self) -> Point {
        Point::Number(self.get() as f64)
    }
}

/// A value that is what it was last set to. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Gauge(Arc<Sum>);

impl Gauge {
    /// It is `value` from now on.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// It is `more` greater from now on; less, for a negative one.
    pub fn add(&self, more: f64) {
        self.0.add(more);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

impl Instrument for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn make(_: &Definition) -> Self {
        Self(Arc::new(Sum::default()))
    }

    fn read(&self) -> Point {
        Point::Number(self.get())
    }
}
