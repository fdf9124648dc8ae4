//! Values that change while the program runs.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::tree::Value;

/// The current value of a tree, kept current by the [`Reloader`](super::Reloader). Cheap to clone.
///
/// ```
/// # async fn watch(mut settings: mainstay_core::config::Watched<String>) {
/// println!("{}", *settings.load());
/// loop {
///     settings.changed().await;
///     println!("now {}", *settings.load());
/// }
/// # }
/// ```
pub struct Watched<T> {
    cell: Arc<Cell<T>>,
    version: watch::Receiver<u64>,
}

impl<T> Watched<T> {
    /// A value that never changes; for tests, and for programs without a reloader.
    #[must_use]
    pub fn fixed(value: T) -> Self {
        Cell::watched(&Arc::new(Cell::new(Arc::new(value))))
    }

    /// The value of now. Costs about as much as reading an `Arc`: call it for each request, and don't keep the answer
    /// across an await.
    #[must_use]
    pub fn load(&self) -> Current<T> {
        Current(self.cell.current.load())
    }

    /// The value of now, to keep.
    #[must_use]
    pub fn load_full(&self) -> Arc<T> {
        self.cell.current.load_full()
    }

    /// Waits until the value is another than when this was last called (or the `Watched` cloned or made); several
    /// changes in between count as one. Never ends where nothing changes: use it beside a shutdown signal.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing: the next call sees the change.
    pub async fn changed(&mut self) {
        // The sender lives in the cell that `self` holds: there is no error while `self` lives.
        if self.version.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self { cell: Arc::clone(&self.cell), version: self.version.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&*self.load()).finish()
    }
}

/// The value of a [`Watched`] at the time of [`load`](Watched::load).
pub struct Current<T>(Guard<Arc<T>>);

impl<T> Deref for Current<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Current<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Holds the value of one tree.
pub(super) struct Cell<T> {
    current: ArcSwap<T>,
    version: watch::Sender<u64>,
}

impl<T> Cell<T> {
    pub(super) fn new(value: Arc<T>) -> Self {
        Self { current: ArcSwap::new(value), version: watch::Sender::new(0) }
    }

    pub(super) fn watched(cell: &Arc<Self>) -> Watched<T> {
        Watched { cell: Arc::clone(cell), version: cell.version.subscribe() }
    }
}

/// A [`Cell`] of whatever type.
pub(super) trait ErasedCell: Send + Sync {
    /// Makes `value` the current one; of another type it is ignored.
    fn store(&self, value: &Value);

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Send + Sync + 'static> ErasedCell for Cell<T> {
    fn store(&self, value: &Value) {
        if let Ok(value) = Arc::clone(value).downcast::<T>() {
            self.current.store(value);
            self.version.send_modify(|version| *version += 1);
        }
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
