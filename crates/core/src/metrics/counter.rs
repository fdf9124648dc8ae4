use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Definition, Instrument, Kind, Point, shard::Shards};

/// Only grows. Clones count together.
#[derive(Debug, Clone)]
pub struct Counter(Arc<Shards<AtomicU64>>);

impl Counter {
    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.0.mine().fetch_add(more, Relaxed);
    }

    /// What was counted until now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.load(Relaxed)).fold(0, u64::wrapping_add)
    }
}

impl Instrument for Counter {
    const KIND: Kind = Kind::Counter;

    fn make(_: &Definition) -> Self {
        Self(Arc::new(Shards::new(AtomicU64::default)))
    }

    fn read(&self) -> Point {
        Point::Counter(self.get())
    }
}
