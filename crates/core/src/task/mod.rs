//! The only place that spawns.
//!
//! A task belongs to a [`Tasks`] group, which tells it when to stop and waits for it. What is spawned inside a
//! request carries that request's context, so that deadlines, trace ids and spans reach background work by construction.
//!
//! A subscriber of `tracing` that is not that of the process goes along too, for tests ([`carry`]).
//!
//! A panic of a task is logged once, with its location and the ids of the request; whoever joins the task gets it too.

mod carried;

use std::{
    future::Future,
    panic,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Dispatch;

pub(crate) use carried::carried;
pub use carried::{Carried, carry};

use crate::{context::RequestContext, panics, trace::Span};

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

    /// Runs `future` as a task of this group, in the context of the current request where there is one, and within the
    /// current span. It ends when it is done; it should end soon after [`Tasks::stopping`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match RequestContext::current() {
            Some(context) => self.tracker.spawn(context.within(Span::current()).scope(Watched::new(future))),
            None => self.tracker.spawn(Watched::new(future)),
        }
    }

    /// Runs `work`, which blocks, on a thread for such work, in the context of the current request where there is one, and
    /// within the current span. Nothing cuts it: [`Tasks::stop`] waits for it as for others.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn_blocking<R>(&self, work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R>
    where
        R: Send + 'static,
    {
        let carried = carried();
        match RequestContext::current() {
            Some(context) => {
                let context = context.within(Span::current());
                self.tracker.spawn_blocking(move || context.sync_scope(|| watched(carried, work)))
            }
            None => self.tracker.spawn_blocking(|| watched(carried, work)),
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
        self.tracker.spawn(Watched::new(future))
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

pin_project! {
    /// A task whose panic is logged.
    pub(crate) struct Watched<F> {
        #[pin]
        inner: F,
        carried: Option<Dispatch>,
    }
}

impl<F> Watched<F> {
    pub(crate) fn new(inner: F) -> Self {
        panics::install();
        Self { inner, carried: carried() }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        watched(this.carried.clone(), || this.inner.poll(cx))
    }
}

/// Runs `work`. If it panics that is logged, and goes on.
fn watched<T>(subscriber: Option<Dispatch>, work: impl FnOnce() -> T) -> T {
    let _carried = subscriber.map(carry);
    panics::install();
    panics::catch(work).unwrap_or_else(|(caught, payload)| {
        let panics::Caught { message, location, backtrace } = &*caught;
        // The ids of the request are those of the line: its context is the current one.
        tracing::error!(
            exception.message = message,
            exception.stacktrace = backtrace.as_ref().map(tracing::field::display),
            location,
            "a task panicked"
        );
        panic::resume_unwind(payload)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::trace::{Kind, Sampler, Sink, SpanData, Tracer};

    #[derive(Clone, Default)]
    struct Ended(Arc<Mutex<Vec<SpanData>>>);

    impl Sink for Ended {
        fn take(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }
    }

    #[tokio::test]
    async fn what_is_spawned_belongs_to_the_span_that_spawned_it_also_after_its_end() {
        let (ended, tasks) = (Ended::default(), Tasks::new());
        let tracer = Tracer::new(Sampler::share(1.0), ended.clone());
        let trace = crate::context::TraceContext::root().sampled(true);
        let root = tracer.start(SpanData::new("test".into(), "root", Kind::Server, trace));
        let context = RequestContext::new().with_span(root.clone());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (spawned, blocking) = context.sync_scope(|| {
            let step = root.child("step");
            step.scope(|| {
                let spawned = tasks.spawn(async move {
                    let _ = gone.await;
                    Span::current().child("spawned").end();
                });
                let blocking = tasks.spawn_blocking(|| Span::current().child("blocking").end());
                (spawned, blocking)
            })
        });
        blocking.await.unwrap();
        root.end();
        go.send(()).unwrap();
        spawned.await.unwrap();
        let spans = ended.0.lock().unwrap().clone();
        let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
        for name in ["spawned", "blocking"] {
            assert_eq!(find(name).parent(), Some(find("step").trace.span_id()), "{name}");
            assert_eq!(find(name).trace.trace_id(), trace.trace_id());
        }
    }

    #[tokio::test]
    async fn a_panic_goes_on_to_whoever_joins_the_task() {
        let tasks = Tasks::new();
        let panicked = tasks.spawn(async { panic!("in a task") }).await.unwrap_err();
        assert_eq!(*panicked.into_panic().downcast::<&'static str>().unwrap(), "in a task");
        let panicked = tasks.spawn_blocking(|| panic!("in blocking work")).await.unwrap_err();
        assert_eq!(*panicked.into_panic().downcast::<&'static str>().unwrap(), "in blocking work");
    }
}
