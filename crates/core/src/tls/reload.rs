//! What is made of files, made anew when they change.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;

use super::Unusable;

/// How something is made of files.
pub trait Recipe: Send + Sync + 'static {
    /// The files, as they were read.
    type Files: Eq + Send;
    /// What is made of them.
    type Made: Send + Sync;

    /// Reads them. May block.
    ///
    /// # Errors
    /// [`Unusable`] where one can't be read.
    fn read(&self) -> Result<Self::Files, Unusable>;

    /// Makes it, or says which file it can't be made of.
    ///
    /// # Errors
    /// [`Unusable`] where one is not what it should be.
    fn make(&self, files: &Self::Files) -> Result<Self::Made, Unusable>;
}

/// What a [`Recipe`] made, as new as its files.
pub struct Reloaded<R: Recipe> {
    recipe: R,
    current: ArcSwap<R::Made>,
    /// What was read last; a bad file is told once, and again when it is bad in another way.
    seen: Mutex<Result<R::Files, Unusable>>,
}

impl<R: Recipe> Reloaded<R> {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// [`Unusable`] for the first that can't be used.
    pub fn new(recipe: R) -> Result<Self, Unusable> {
        let files = recipe.read()?;
        let current = ArcSwap::from_pointee(recipe.make(&files)?);
        Ok(Self { recipe, current, seen: Mutex::new(Ok(files)) })
    }

    /// How it is made.
    pub fn recipe(&self) -> &R {
        &self.recipe
    }

    /// What was made of the files the last time that they were good.
    #[must_use]
    pub fn current(&self) -> Arc<R::Made> {
        self.current.load_full()
    }

    /// Looks at the files every `interval`, as long as somebody else holds the value. What is wrong with them is logged;
    /// the old one stays in use then.
    ///
    /// # Cancel safety
    /// Dropping it ends the watch.
    pub async fn watch(this: Weak<Self>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let Some(this) = this.upgrade() else { return };
            // A panic in there is that of a recipe, and told by the hook.
            let _ = tokio::task::spawn_blocking(move || this.look()).await;
        }
    }

    fn look(&self) {
        let read = self.recipe.read();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == read {
            return;
        }
        match read.as_ref().map_err(Clone::clone).and_then(|files| self.recipe.make(files)) {
            Ok(made) => {
                self.current.store(Arc::new(made));
                tracing::info!("certificates reloaded");
            }
            Err(error) => tracing::error!(%error, "certificates not reloaded; the old ones stay in use"),
        }
        *seen = read;
    }
}

impl<R: Recipe + fmt::Debug> fmt::Debug for Reloaded<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded").field("recipe", &self.recipe).finish_non_exhaustive()
    }
}
