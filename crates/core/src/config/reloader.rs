//! Takes over changes of the configuration while the program runs.

use std::collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher};
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value as Json;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::errors::Errors;
use super::key::Key;
use super::loader::Loader;
use super::reading::{self, Snapshot};
use super::view::entries;
use super::watched::ErasedCell;

/// Watches the files of the configuration and takes their changes over.
///
/// A change that is wrong is refused whole: the old values stay, and one warning names every error. A right change
/// reaches the keys that their section declares [`reloadable`](super::Section::reloadable); a changed key that is not
/// is named in a warning and keeps its value until the restart.
///
/// Files are read and compared once an interval (1 s unless set), rather than watched through the kernel: that needs no
/// native code, and sees the swapped symlinks of Kubernetes' ConfigMaps, network file systems and bind mounts, where
/// file events fail. What changed must be the same twice, so that no file is taken over half-written.
pub struct Reloader {
    loader: Loader,
    state: Arc<ArcSwap<Snapshot>>,
    cells: Arc<BTreeMap<Key, Arc<dyn ErasedCell>>>,
    interval: Duration,
    trigger: Trigger,
    /// One reload after the other, so that an older reading never replaces a newer one.
    turn: Mutex<()>,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reload {
    /// Nothing changed.
    Unchanged,
    /// The new values are in use, save for those that need a restart.
    Applied {
        /// The keys whose new values are in use.
        changed: Vec<Key>,
        /// The keys that keep their old values until the restart.
        restart: Vec<Key>,
    },
    /// The new values are wrong, and the old ones still in use.
    Refused(Errors),
}

/// Asks a running [`Reloader`] to look now; for SIGHUP and admin endpoints. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Trigger(Arc<Notify>);

impl Trigger {
    /// Reads the configuration again now, without waiting for the interval.
    pub fn reload(&self) {
        self.0.notify_one();
    }
}

impl Reloader {
    pub(super) fn new(
        loader: Loader,
        state: Arc<ArcSwap<Snapshot>>,
        cells: Arc<BTreeMap<Key, Arc<dyn ErasedCell>>>,
    ) -> Self {
        Self {
            loader,
            state,
            cells,
            interval: Duration::from_secs(1),
            trigger: Trigger::default(),
            turn: Mutex::new(()),
        }
    }

    /// Looks at the files once an `interval` (at least 10 ms).
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(10));
        self
    }

    /// Asks this reloader to look at once.
    #[must_use]
    pub fn trigger(&self) -> Trigger {
        self.trigger.clone()
    }

    /// Watches until `shutdown`.
    ///
    /// # Cancel safety
    /// Dropping it ends the watching; values are replaced whole or not at all.
    pub async fn run(self, shutdown: CancellationToken) {
        let this = Arc::new(self);
        let mut ticks = tokio::time::interval(this.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Nothing is taken for applied at first: files may have changed since they were loaded.
        let (mut applied, mut previous) = (None, None);
        loop {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                () = this.trigger.0.notified() => true,
                _ = ticks.tick() => false,
            };
            let files = this.state.load().files.clone();
            let Some(now) = blocking(&shutdown, move || fingerprint(&files)).await else { continue };
            let settled = previous.replace(now) == Some(now);
            if !asked && (applied == Some(now) || !settled) {
                continue;
            }
            let reader = Arc::clone(&this);
            if blocking(&shutdown, move || reader.reload()).await.is_some() {
                applied = Some(now);
            }
        }
    }

    /// Reads everything again and takes over what changed; what a watched change leads to. Reads files, so it blocks.
    /// Logs what it did.
    pub fn reload(&self) -> Reload {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.state.load_full();
        let outcome = match self.reading(&old) {
            Ok((new, changed, restart)) => {
                if changed.is_empty() && restart.is_empty() {
                    Reload::Unchanged
                } else {
                    self.apply(new, &changed);
                    Reload::Applied {
                        changed: changed.into_iter().collect(),
                        restart: restart.into_iter().collect(),
                    }
                }
            }
            Err(errors) => Reload::Refused(errors),
        };
        match &outcome {
            Reload::Unchanged => tracing::debug!("the configuration did not change"),
            Reload::Refused(errors) => {
                tracing::warn!(errors = %format_args!("{errors:#}"), "the changed configuration is refused, the old one stays in use");
            }
            Reload::Applied { changed, restart } => {
                if !changed.is_empty() {
                    tracing::info!(keys = %listed(changed), "the changed configuration is in use");
                }
                if !restart.is_empty() {
                    tracing::warn!(keys = %listed(restart), "these keys need a restart, their old values stay in use");
                }
            }
        }
        outcome
    }

    /// The new state with the old values of what can't change, the keys that change, and those that can't.
    fn reading(&self, old: &Snapshot) -> Result<(Snapshot, BTreeSet<Key>, BTreeSet<Key>), Errors> {
        let gathered = self.loader.gather();
        let profile = gathered.profile.clone();
        let files = gathered.files.clone();
        let new = reading::read(&self.loader, gathered)?;
        let (changed, mut restart): (BTreeSet<_>, BTreeSet<_>) =
            self.differences(old, &new).into_iter().partition(|key| self.is_reloadable(key));
        if restart.is_empty() {
            return Ok((new, changed, restart));
        }
        let mut node = new.node;
        for key in &restart {
            match old.node.get(key) {
                Some(value) => {
                    node.insert(key, value.clone());
                }
                None => {
                    node.remove(key);
                }
            }
        }
        // Old and new values together must be right too.
        let mixed = reading::read(
            &self.loader,
            super::loader::Gathered { profile, node, findings: Vec::new(), files },
        )?;
        // A value that is shown under another key than it is set by (a serde alias) cannot be put back by its key.
        // Then nothing changes before the restart.
        let left: BTreeSet<_> =
            self.differences(old, &mixed).into_iter().filter(|key| !changed.contains(key)).collect();
        if !left.is_empty() {
            let whole = super::loader::Gathered {
                profile: old.profile.clone(),
                node: old.node.clone(),
                findings: Vec::new(),
                files: old.files.clone(),
            };
            restart.extend(changed);
            return Ok((reading::read(&self.loader, whole)?, BTreeSet::new(), restart));
        }
        Ok((mixed, changed, restart))
    }

    fn differences(&self, old: &Snapshot, new: &Snapshot) -> BTreeSet<Key> {
        let by_key = |snapshot: &Snapshot| -> BTreeMap<Key, Json> {
            entries(&self.loader, snapshot).into_iter().map(|entry| (entry.key, entry.value)).collect()
        };
        let (before, after) = (by_key(old), by_key(new));
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
        let redacted = Json::from(super::secret::REDACTED);
        keys.into_iter()
            .filter(|key| {
                let (before, after) = (before.get(key), after.get(key));
                // Two redacted values look the same, and so may a list with secrets in it: what set them tells.
                let opaque = before == Some(&redacted) || before.is_some_and(Json::is_array);
                before != after || (opaque && old.node.get(key) != new.node.get(key))
            })
            .collect()
    }

    fn is_reloadable(&self, key: &Key) -> bool {
        let tree = self
            .loader
            .trees
            .iter()
            .filter(|(place, _)| key.starts_with(place))
            .max_by_key(|(place, _)| place.segments().len());
        tree.is_some_and(|(place, tree)| {
            tree.reloadable.iter().any(|reloadable| key.starts_with(&place.join(reloadable)))
        })
    }

    fn apply(&self, new: Snapshot, changed: &BTreeSet<Key>) {
        let new = Arc::new(new);
        self.state.store(Arc::clone(&new));
        for (place, tree) in &new.trees {
            let touched = changed.iter().any(|key| {
                let owner = self.loader.trees.keys().filter(|place| key.starts_with(place));
                owner.max_by_key(|place| place.segments().len()) == Some(place)
            });
            if touched && let Some(cell) = self.cells.get(place) {
                cell.store(&tree.value);
            }
        }
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// Runs file reads where they block nobody. A file system that hangs delays the next look, never the shutdown; `None`
/// then.
async fn blocking<T: Send + 'static>(
    shutdown: &CancellationToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::select! {
        () = shutdown.cancelled() => None,
        done = tokio::task::spawn_blocking(work) => done.ok(),
    }
}

fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in files {
        path.hash(&mut hasher);
        match std::fs::read(path) {
            Ok(content) => content.hash(&mut hasher),
            Err(error) => error.kind().hash(&mut hasher),
        }
    }
    hasher.finish()
}

fn listed(keys: &[Key]) -> String {
    keys.iter().map(Key::to_string).collect::<Vec<_>>().join(", ")
}
