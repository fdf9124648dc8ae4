//! A configuration that was read without an error.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::key::Key;
use super::loader::Loader;
use super::origin::Origin;
use super::reading::Snapshot;
use super::reloader::Reloader;
use super::section::Section;
use super::view::View;
use super::watched::{Cell, ErasedCell, Watched};

/// A configuration without errors: the values of every tree, and where each came from.
pub struct Loaded {
    loader: Loader,
    state: Arc<ArcSwap<Snapshot>>,
    cells: Arc<BTreeMap<Key, Arc<dyn ErasedCell>>>,
}

impl Loaded {
    pub(super) fn new(loader: Loader, snapshot: Snapshot) -> Self {
        let cells = loader
            .trees
            .iter()
            .filter_map(|(place, tree)| {
                let cell = (tree.cell)(&snapshot.trees.get(place)?.value)?;
                Some((place.clone(), cell))
            })
            .collect();
        Self { loader, state: Arc::new(ArcSwap::from_pointee(snapshot)), cells: Arc::new(cells) }
    }

    /// The profile: `dev` is relaxed, every other one strict.
    #[must_use]
    pub fn profile(&self) -> String {
        self.state.load().profile.clone()
    }

    /// The value of the tree at `place`, as it is now.
    ///
    /// # Panics
    /// When no tree of type `T` was registered there.
    #[must_use]
    #[track_caller]
    pub fn get<T: Section>(&self, place: &str) -> Arc<T> {
        self.watch::<T>(place).load_full()
    }

    /// The value of the tree at `place`, kept current by the [`reloader`](Loaded::reloader) where one runs.
    ///
    /// # Panics
    /// When no tree of type `T` was registered there.
    #[must_use]
    #[track_caller]
    pub fn watch<T: Section>(&self, place: &str) -> Watched<T> {
        match self.try_watch(place) {
            Some(watched) => watched,
            None => panic!("no configuration tree of type {} at `{place}`", std::any::type_name::<T>()),
        }
    }

    /// As [`watch`](Loaded::watch); `None` when no tree of type `T` was registered there.
    #[must_use]
    pub fn try_watch<T: Section>(&self, place: &str) -> Option<Watched<T>> {
        let cell = Arc::clone(self.cells.get(&Key::parse(place).ok()?)?).into_any();
        Some(Cell::watched(&cell.downcast::<Cell<T>>().ok()?))
    }

    /// Where the value of `key` came from; [`Origin::Default`] where nothing sets it.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        let state = self.state.load();
        let node = Key::parse(key).ok().and_then(|key| state.node.get(&key).cloned());
        node.and_then(|node| node.first_origin().cloned()).unwrap_or(Origin::Default)
    }

    /// The effective configuration for people: what `--print-config` and the admin listener show. Follows reloads.
    #[must_use]
    pub fn view(&self) -> View {
        View::new(self.loader.clone(), Arc::clone(&self.state))
    }

    /// The task that takes over changes of files while the program runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader::new(self.loader.clone(), Arc::clone(&self.state), Arc::clone(&self.cells))
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("loader", &self.loader).finish_non_exhaustive()
    }
}
