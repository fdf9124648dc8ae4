//! What a component gets from the engine.

use std::{future::Future, sync::Arc, time::Duration};

use tokio_util::task::AbortOnDropHandle;

use super::{Drain, Failure, Shutdown};
use crate::{Result, error::Report, task::Tasks};

/// What a component gets when it starts: owners for its tasks, the drain, and the way to end the process. Cloning is
/// cheap.
#[derive(Debug, Clone)]
pub struct Context {
    component: Arc<str>,
    tasks: Tasks,
    serving: Tasks,
    drain: Drain,
    shutdown: Shutdown,
}

impl Context {
    pub(super) fn new(component: Arc<str>, drain: Drain, shutdown: Shutdown) -> Self {
        Self { component, tasks: Tasks::new(), serving: Tasks::new(), drain, shutdown }
    }

    /// The component's name.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Tasks whose end nobody waits for before the component stops; told then ([`Tasks::stopping`]) and waited for.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The drain of the process.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// The way to end the process.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Runs what serves: a server, a consumer. It watches the [`Context::drain`] and returns when it has drained, and
    /// the drain waits for it. If it returns or panics before a drain was announced, the process shuts down with
    /// status 1.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn serve(&self, work: impl Future<Output = Result<()>> + Send + 'static) {
        let work = AbortOnDropHandle::new(self.serving.spawn_detached(work));
        let context = self.clone();
        self.serving.spawn_detached(async move {
            let ended = Failure::of(work.await);
            context.ended(ended, context.drain.has_begun());
        });
    }

    /// Runs what has to go on until the component stops: the renewal of a lease, a relay. It returns after
    /// [`Tasks::stopping`] of [`Context::tasks`]. If it returns or panics before, the process shuts down with
    /// status 1.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn keep(&self, work: impl Future<Output = Result<()>> + Send + 'static) {
        let work = AbortOnDropHandle::new(self.tasks.spawn_detached(work));
        let context = self.clone();
        self.tasks.spawn_detached(async move {
            let ended = Failure::of(work.await);
            context.ended(ended, context.tasks.stopping().is_cancelled());
        });
    }

    fn ended(&self, result: Result<(), Failure>, expected: bool) {
        let component = &*self.component;
        match (result, expected) {
            (Ok(()), true) => {}
            (Err(failure), true) => {
                tracing::warn!(component, error = %Report::new(&failure), "a task failed while the process stops");
            }
            (Ok(()), false) => self.shutdown.fail(component, Failure::Ended),
            (Err(failure), false) => self.shutdown.fail(component, failure),
        }
    }

    /// Waits for what serves.
    pub(super) async fn served(&self) {
        // The bound is the caller's: the drain ends by its own timeout.
        let _ = self.serving.stop(Duration::MAX).await;
    }

    /// Tells the tasks to stop.
    pub(super) fn abandon(&self) {
        self.tasks.stopping().cancel();
        self.serving.stopping().cancel();
    }

    /// Stops the tasks; how many did not end.
    pub(super) async fn stop(&self, bound: Duration) -> usize {
        let _ = self.tasks.stop(bound).await;
        self.tasks.len() + self.serving.len()
    }
}
