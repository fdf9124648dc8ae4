//! What was seen, by name: looked up without a lock, and no more of it than a program has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

/// A service has no more routes, and no more gRPC methods, than this; what comes beyond counts as none.
const MOST: usize = 1000;

pub(super) struct Seen<T> {
    all: ArcSwap<HashMap<Box<str>, T>>,
    growing: Mutex<()>,
}

impl<T: Clone> Seen<T> {
    /// The one of this name, if it was seen.
    pub(super) fn find(&self, name: &str) -> Option<T> {
        self.all.load().get(name).cloned()
    }

    /// All that were seen.
    pub(super) fn all(&self) -> Vec<T> {
        self.all.load().values().cloned().collect()
    }

    /// The one of this name, made if there is room for it.
    pub(super) fn get(&self, name: &str, make: impl FnOnce(&str) -> T) -> Option<T> {
        let known = self.all.load();
        if let Some(found) = known.get(name) {
            return Some(found.clone());
        }
        // What is full stays so: no lock for what comes beyond.
        if known.len() >= MOST {
            return None;
        }
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.all.load_full();
        if let Some(found) = known.get(name) {
            return Some(found.clone());
        }
        if known.len() >= MOST {
            return None;
        }
        let new = make(name);
        let mut more = HashMap::clone(&known);
        more.insert(name.into(), new.clone());
        self.all.store(Arc::new(more));
        Some(new)
    }
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { all: ArcSwap::default(), growing: Mutex::new(()) }
    }
}
