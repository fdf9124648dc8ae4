//! Goes through the phases.

use std::{
    future::pending,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    ComponentState, Config, Context, DrainConfig, Drainer, Error, Failure, Flush, Lifecycle, Observer, Part,
    Phase, Shutdown, Stage,
    graph::Graph,
    shutdown::Reason,
    walk::{LONGEST, walk},
};
use crate::{
    error::Report,
    health::{Check, Registry},
};

/// How long after the cut what was cut may take to notice.
const GRACE: Duration = Duration::from_millis(500);

pub(super) struct Engine {
    config: Config,
    drain: DrainConfig,
    health: Registry,
    drainer: Drainer,
    shutdown: Shutdown,
    observer: Observer,
    parts: Vec<Part>,
    contexts: Vec<Context>,
    graph: Graph,
    flushes: Vec<Flush>,
}

impl Engine {
    pub(super) fn new(lifecycle: Lifecycle, graph: Graph) -> Self {
        let Lifecycle { config, drain, health, drainer, shutdown, observer, parts, flushes } = lifecycle;
        let context = |part: &Part| Context::new(part.name.clone(), drainer.subscribe(), shutdown.clone());
        let contexts = parts.iter().map(context).collect();
        observer.wait_for(parts.iter().map(|part| part.name.clone()));
        Self { config, drain, health, drainer, shutdown, observer, parts, contexts, graph, flushes }
    }

    pub(super) async fn run(self) -> Result<(), Error> {
        let began = Instant::now();
        let started = self.start().await;
        let delay = match started {
            Ok(()) => {
                tracing::info!(components = self.parts.len(), took = ?began.elapsed(), "started");
                self.health.start();
                self.observer.enter(Stage::Running);
                self.until_shutdown(began).await;
                self.drain.delay.get()
            }
            // Nobody was sent here yet.
            Err(_) => Duration::ZERO,
        };
        let reason = self.shutdown.take_reason();
        if let Some(reason) = &reason {
            tracing::info!(%reason, "shutting down");
        }
        let unclean = self.end(delay).await;
        match (started, reason) {
            (Err(Some((component, cause))), _) => Err(Error::Start { component, cause }),
            (_, Some(Reason::Component { component, cause })) => Err(Error::Component { component, cause }),
            _ if !unclean.is_empty() => Err(Error::Unclean(unclean)),
            _ => Ok(()),
        }
    }

    /// Starts everything; or gives the first that did not start, nothing if it was interrupted.
    async fn start(&self) -> Result<(), Option<(String, Failure)>> {
        let mut failed = None;
        walk(
            &Vec::from_iter(0..self.parts.len()),
            &self.graph.needs,
            self.shutdown.triggered(),
            |index| self.parts[index].component.start_timeout().unwrap_or(self.config.start_timeout.get()),
            |index| {
                self.observer.set(index, ComponentState::Starting);
                self.parts[index].component.clone().start(self.contexts[index].clone())
            },
            |index, took, result| {
                let component = &*self.parts[index].name;
                match result {
                    Ok(()) => {
                        tracing::info!(component, ?took, "component started");
                        self.observer.set(index, ComponentState::Started);
                        self.check(index);
                        ControlFlow::Continue(())
                    }
                    Err(failure) => {
                        tracing::error!(component, ?took, error = %Report::new(&failure), "component did not start");
                        self.observer.set(index, ComponentState::Failed);
                        failed.get_or_insert((component.to_owned(), failure));
                        ControlFlow::Break(())
                    }
                }
            },
        )
        .await;
        let complete = (0..self.parts.len()).all(|index| self.has_started(index));
        if complete { Ok(()) } else { Err(failed) }
    }

    /// Makes the component's `ready` a check.
    fn check(&self, index: usize) {
        let component = self.parts[index].component.clone();
        let ready = move || component.clone().ready();
        self.health.register(Check::readiness(&*self.parts[index].name, ready));
    }

    async fn until_shutdown(&self, began: Instant) {
        tokio::select! {
            biased;
            () = self.shutdown.triggered() => return,
            () = self.health.ready() => tracing::info!(took = ?began.elapsed(), "ready"),
        }
        self.shutdown.triggered().await;
    }

    /// From the announcement to the last flush; gives the names of what did not stop as it should.
    async fn end(&self, delay: Duration) -> Vec<String> {
        let began = Instant::now();
        let unclean = Unclean::default();
        // One whose start failed may have left tasks behind: it is stopped too, without its hooks.
        let touched = |index: &usize| self.observer.state(*index) != ComponentState::Waiting;
        let touched: Vec<usize> = (0..self.parts.len()).filter(touched).collect();
        let started: Vec<usize> = touched.iter().copied().filter(|index| self.has_started(*index)).collect();

        self.announce(&started, &unclean).await;
        if !delay.is_zero() {
            tokio::time::sleep_until(began + delay.min(LONGEST)).await;
            tracing::info!(phase = "delay", took = ?began.elapsed(), "drain");
        }
        self.close(&touched, began + self.drain.timeout.get().min(LONGEST), &unclean).await;

        self.observer.enter(Stage::Stopping);
        self.health.stop(self.config.stop_timeout.get()).await;
        self.stop(&touched, &unclean).await;
        self.flush(&unclean).await;
        self.observer.enter(Stage::Stopped);
        let unclean = unclean.into_names();
        tracing::info!(took = ?began.elapsed(), unclean = unclean.join(", "), "stopped");
        unclean
    }

    /// Tells the probes first, then the streams and servers, then takes back the registrations.
    async fn announce(&self, started: &[usize], unclean: &Unclean) {
        let began = Instant::now();
        self.health.drain();
        self.drainer.advance(Phase::Announced);
        self.observer.enter(Stage::Draining);
        walk(
            started,
            &vec![Vec::new(); self.parts.len()],
            pending(),
            |_| self.config.stop_timeout.get().min(self.drain.timeout.get()),
            |index| self.parts[index].component.clone().withdraw(),
            |index, took, result| unclean.note(&self.parts[index].name, "withdraw", took, result),
        )
        .await;
        tracing::info!(phase = "announce", took = ?began.elapsed(), "drain");
    }

    /// Closes the listeners, waits for what is in flight, cuts what is left at `cut_at`.
    async fn close(&self, touched: &[usize], cut_at: Instant, unclean: &Unclean) {
        let began = Instant::now();
        self.health.close();
        self.drainer.advance(Phase::Closing);
        let open = Mutex::new(touched.to_vec());
        let drained = walk(
            touched,
            &self.graph.needed_by,
            pending(),
            // It is the cut that bounds them.
            |_| Duration::MAX,
            |index| {
                let (component, context) =
                    (self.parts[index].component.clone(), self.contexts[index].clone());
                let started = self.has_started(index);
                Box::pin(async move {
                    if started {
                        component.drain().await?;
                    }
                    context.served().await;
                    Ok(())
                })
            },
            |index, took, result| {
                open.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != index);
                unclean.note(&self.parts[index].name, "drain", took, result)
            },
        );
        let mut drained = std::pin::pin!(drained);
        let in_time = tokio::select! {
            biased;
            () = &mut drained => true,
            () = tokio::time::sleep_until(cut_at) => false,
        };
        let remaining = self.names(&open);
        tracing::info!(phase = "close", took = ?began.elapsed(), remaining, "drain");
        self.drainer.advance(Phase::Cut);
        if !in_time {
            let cut = Instant::now();
            drop(tokio::time::timeout(GRACE, drained).await);
            tracing::warn!(phase = "cut", took = ?cut.elapsed(), remaining = self.names(&open), "drain");
        }
    }

    async fn stop(&self, touched: &[usize], unclean: &Unclean) {
        let began = Instant::now();
        let bound = |index: usize| -> Duration {
            self.parts[index].component.stop_timeout().unwrap_or(self.config.stop_timeout.get())
        };
        walk(
            touched,
            &self.graph.needed_by,
            pending(),
            bound,
            |index| {
                let (component, context) =
                    (self.parts[index].component.clone(), self.contexts[index].clone());
                let started = self.has_started(index);
                let tasks_bound = bound(index) / 2;
                Box::pin(async move {
                    let remaining = context.stop(tasks_bound).await;
                    if remaining > 0 {
                        tracing::warn!(
                            component = context.component(),
                            remaining,
                            "tasks were still running"
                        );
                    }
                    if started { component.stop().await } else { Ok(()) }
                })
            },
            |index, took, result| {
                if result.is_ok() && self.has_started(index) {
                    tracing::info!(component = &*self.parts[index].name, ?took, "component stopped");
                }
                self.observer.set(index, ComponentState::Stopped);
                unclean.note(&self.parts[index].name, "stop", took, result)
            },
        )
        .await;
        tracing::info!(phase = "stop", took = ?began.elapsed(), "drain");
    }

    async fn flush(&self, unclean: &Unclean) {
        if self.flushes.is_empty() {
            return;
        }
        let began = Instant::now();
        let one_after_another = (0..self.flushes.len()).map(|index| Vec::from_iter(index.checked_sub(1)));
        walk(
            &Vec::from_iter(0..self.flushes.len()),
            &Vec::from_iter(one_after_another),
            pending(),
            |_| self.config.stop_timeout.get(),
            |index| {
                let hook = self.flushes[index].hook.lock().unwrap_or_else(PoisonError::into_inner).take();
                hook.unwrap_or_else(|| Box::pin(async { Ok(()) }))
            },
            |index, took, result| unclean.note(&self.flushes[index].name, "flush", took, result),
        )
        .await;
        tracing::info!(phase = "flush", took = ?began.elapsed(), "drain");
    }

    fn has_started(&self, index: usize) -> bool {
        self.observer.state(index) == ComponentState::Started
    }

    fn names(&self, indexes: &Mutex<Vec<usize>>) -> String {
        let indexes = indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<Arc<str>> = indexes.iter().map(|index| self.parts[*index].name.clone()).collect();
        names.join(", ")
    }
}

/// A run that is dropped leaves nothing running that listens: its tasks are told to end, and the drain is over.
impl Drop for Engine {
    fn drop(&mut self) {
        self.health.close();
        self.drainer.advance(Phase::Cut);
        self.contexts.iter().for_each(Context::abandon);
    }
}

/// The names of what failed on the way out. Nothing on the way out stops the rest.
#[derive(Default)]
struct Unclean(Mutex<Vec<String>>);

impl Unclean {
    fn note(
        &self,
        name: &str,
        hook: &'static str,
        took: Duration,
        result: Result<(), Failure>,
    ) -> ControlFlow<()> {
        if let Err(failure) = result {
            let error = Report::new(&failure);
            tracing::error!(component = name, hook, ?took, %error, "component did not stop cleanly");
            let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !names.iter().any(|other| other == name) {
                names.push(name.to_owned());
            }
        }
        ControlFlow::Continue(())
    }

    fn into_names(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
