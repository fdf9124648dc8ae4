//! Memory that few threads share.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::available_parallelism,
};

/// More than this many copies cost more memory than they save time.
const MOST: usize = 16;

/// One `T` for every core, more or less: what threads write at once lies in different cache lines.
#[derive(Debug)]
pub(crate) struct Shards<T>(Box<[Padded<T>]>);

/// The pair of cache lines that a processor fetches at once.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> Shards<T> {
    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        Self((0..count()).map(|_| Padded(make())).collect())
    }

    /// The one that this thread writes.
    pub(super) fn mine(&self) -> &T {
        self.mine_with_index().1
    }

    /// And where it is.
    pub(crate) fn mine_with_index(&self) -> (usize, &T) {
        // The number is a power of two.
        let index = mine() & (self.0.len() - 1);
        (index, &self.0[index].0)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index).map(|padded| &padded.0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

fn count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = available_parallelism().map_or(1, usize::from);
        cores.next_power_of_two().min(MOST)
    })
}

/// The number of this thread.
fn mine() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let given = |mine: &Cell<Option<usize>>| {
        mine.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Relaxed);
            mine.set(Some(next));
            next
        })
    };
    MINE.try_with(given).unwrap_or(0)
}

/// A sum of numbers that need not be whole.
#[derive(Debug, Default)]
pub(super) struct Sum(AtomicU64);

impl Sum {
    pub(super) fn add(&self, value: f64) {
        let mut old = self.0.load(Relaxed);
        while let Err(newer) =
            self.0.compare_exchange_weak(old, (f64::from_bits(old) + value).to_bits(), Relaxed, Relaxed)
        {
            old = newer;
        }
    }

    pub(super) fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}
