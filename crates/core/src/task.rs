//! The only place that spawns.
//!
//! A task belongs to a [`Tasks`] group, which tells it when to stop and waits for it. What is spawned inside a
//! request carries that request's context, so that deadlines and trace ids reach background work by construction.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::context::RequestContext;

/// A group of tasks with one owner. Clones share the group.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// Tasks that had not ended in time, and were left or aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{remaining} tasks had not ended after {waited:?}")]
#[non_exhaustive]
pub struct StillRunning {
    /// How many.
    pub remaining: usize,
    /// How long they were waited for.
    pub waited: Duration,
}

impl Tasks {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` as a task of this group, in the context of the current request where there is one. It ends when
    /// it is done; it should end soon after [`Tasks::stopping`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match RequestContext::current() {
            Some(context) => self.tracker.spawn(context.scope(future)),
            None => self.tracker.spawn(future),
        }
    }

    /// Like [`Tasks::spawn`], without the request's context: for connections and other work that outlives a request.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn_detached<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tracker.spawn(future)
    }

    /// The signal to stop, for the tasks of this group.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// How many tasks have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether all tasks have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Tells all tasks to stop and waits for them, at most `bound`.
    ///
    /// # Errors
    /// [`StillRunning`] when tasks are left; they are not aborted.
    ///
    /// # Cancel safety
    /// Dropping it leaves the tasks told to stop, and unawaited.
    pub async fn stop(&self, bound: Duration) -> Result<(), StillRunning> {
        self.stop.cancel();
        self.tracker.close();
        match tokio::time::timeout(bound, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(StillRunning { remaining: self.tracker.len(), waited: bound }),
        }
    }
}
