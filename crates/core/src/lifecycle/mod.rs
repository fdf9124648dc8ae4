//! Start, drain, stop (contract LIFE 1 to 4).
//!
//! A [`Lifecycle`] takes [`Component`]s, starts them in the order of their dependencies, waits for a reason to end,
//! drains, and stops them in the reverse order. Every step has a bound, and one line in the log with its time.
//!
//! | phase | what happens | ends |
//! |---|---|---|
//! | start | each component when its dependencies have started, the independent ones together | `lifecycle.start_timeout` each |
//! | run | checks run; `/readyz` turns 200 when each has passed once | SIGTERM, SIGINT, [`Shutdown`], or a critical task's end |
//! | announce | not ready any more, gRPC health NOT_SERVING, registrations withdrawn | `lifecycle.stop_timeout` |
//! | delay | listeners still accept, so that balancers notice | `drain.delay` after the announcement |
//! | close | listeners close, what is in flight finishes | `drain.timeout` after the announcement |
//! | cut | what is left is cut | 500 ms |
//! | stop | components, each when those that depend on it have stopped | `lifecycle.stop_timeout` each |
//! | flush | telemetry and the like | `lifecycle.stop_timeout` each |
//!
//! A second SIGTERM or SIGINT ends the process at once. The exit statuses are those of [`Exit`].
//!
//! ```no_run
//! use mainstay_core::lifecycle::{Exit, Lifecycle, component};
//!
//! #[tokio::main]
//! async fn main() -> Exit {
//!     let cache = component("cache", |context| async move {
//!         context.keep({
//!             let stopping = context.tasks().stopping();
//!             async move {
//!                 stopping.cancelled().await; // refresh until then
//!                 Ok(())
//!             }
//!         });
//!         Ok(())
//!     });
//!     Exit::of(&Lifecycle::new().with(cache).run().await)
//! }
//! ```

mod component;
mod config;
mod context;
mod drain;
mod engine;
mod erased;
mod error;
mod exit;
mod function;
mod graph;
mod observer;
mod shutdown;
mod signal;
mod walk;

use std::{borrow::Cow, fmt, future::Future, sync::Arc};

use futures_core::Stream;

pub use component::{Component, Dependencies};
pub use config::{Config, DrainConfig};
pub use context::Context;
pub use drain::{Drain, Drainer, Phase};
pub(crate) use erased::BoxFuture;
pub use erased::DynComponent;
pub(crate) use error::panic_message;
pub use error::{Error, Failure, InvalidConfig, InvalidOrder};
pub use exit::Exit;
pub use function::{FnComponent, component};
pub use observer::{ComponentState, Observer, Stage};
pub use shutdown::Shutdown;
pub use signal::{Signal, Signals};

use crate::{Result, health::Registry};
use engine::Engine;
use erased::Erased;
use graph::{Graph, Node};

/// The components of a process, from start to stop.
pub struct Lifecycle {
    config: Config,
    drain: DrainConfig,
    health: Registry,
    drainer: Drainer,
    shutdown: Shutdown,
    observer: Observer,
    parts: Vec<Part>,
    flushes: Vec<Flush>,
}

/// A component and its place.
struct Part {
    name: Arc<str>,
    scope: Option<String>,
    component: Arc<dyn Erased>,
}

/// The last things to do.
struct Flush {
    name: Cow<'static, str>,
    hook: std::sync::Mutex<Option<BoxFuture<Result<()>>>>,
}

impl Lifecycle {
    /// Without components, with the default bounds.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Config::default(),
            drain: DrainConfig::default(),
            health: Registry::new(),
            drainer: Drain::channel().0,
            shutdown: Shutdown::new(),
            observer: Observer::new(),
            parts: Vec::new(),
            flushes: Vec::new(),
        }
    }

    /// With these bounds for start and stop.
    #[must_use]
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// With these bounds for the drain.
    #[must_use]
    pub fn with_drain(mut self, drain: DrainConfig) -> Self {
        self.drain = drain;
        self
    }

    /// With this registry of checks instead of one of its own.
    #[must_use]
    pub fn with_health(mut self, health: Registry) -> Self {
        self.health = health;
        self
    }

    /// Adds a component.
    #[must_use]
    pub fn with(mut self, component: impl Component) -> Self {
        let name = Arc::from(component.name());
        self.parts.push(Part { name, scope: None, component: Arc::new(component) });
        self
    }

    /// Adds a component as `{scope}/{name}`, so that parts of one process that know nothing of each other can name
    /// theirs alike. Its dependencies are looked up in the scope first, then among the others.
    #[must_use]
    pub fn with_scoped(mut self, scope: impl Into<String>, component: impl Component) -> Self {
        let scope = scope.into();
        let name = Arc::from(format!("{scope}/{}", component.name()));
        self.parts.push(Part { name, scope: Some(scope), component: Arc::new(component) });
        self
    }

    /// Adds something to do after everything has stopped: flushing telemetry. In the order in which they were added,
    /// each within `lifecycle.stop_timeout`.
    #[must_use]
    pub fn with_flush(
        mut self,
        name: impl Into<Cow<'static, str>>,
        flush: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Self {
        let hook = std::sync::Mutex::new(Some(Box::pin(flush) as BoxFuture<_>));
        self.flushes.push(Flush { name: name.into(), hook });
        self
    }

    /// The way to end the run from inside of the process.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// The drain of this run.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.drainer.subscribe()
    }

    /// The checks of this run; each component adds its own.
    #[must_use]
    pub fn health(&self) -> &Registry {
        &self.health
    }

    /// Tells how far the run is.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Checks what can be checked without starting anything.
    ///
    /// # Errors
    /// [`Error::Order`] and [`Error::Config`].
    pub fn check(&self) -> Result<(), Error> {
        self.drain.validate()?;
        self.graph().map(drop).map_err(Error::Order)
    }

    /// Starts, runs until SIGTERM, SIGINT or [`Shutdown`], drains and stops. A second signal ends the process.
    ///
    /// # Errors
    /// Why the run did not end cleanly. [`Exit::of`] gives the exit status.
    ///
    /// # Cancel safety
    /// Dropping it drops the hooks under way and calls no others; the drain goes to [`Phase::Cut`] and tasks are told
    /// to stop, but nobody waits for them.
    pub async fn run(self) -> Result<(), Error> {
        let signals = Signals::listen().map_err(Error::Signals)?;
        self.run_with(signals).await
    }

    /// Like [`Lifecycle::run`], with the signals of this stream. The second gives [`Error::Forced`] at once: call
    /// [`Exit::now`] with it.
    ///
    /// # Errors
    /// Why the run did not end cleanly.
    ///
    /// # Cancel safety
    /// As [`Lifecycle::run`].
    pub async fn run_with(self, signals: impl Stream<Item = Signal> + Send) -> Result<(), Error> {
        self.drain.validate()?;
        let graph = self.graph().map_err(Error::Order)?;
        let shutdown = self.shutdown.clone();
        let engine = Engine::new(self, graph);
        tokio::select! {
            biased;
            signal = signal::second_of(signals, &shutdown) => Err(Error::Forced(signal)),
            result = Box::pin(engine.run()) => result,
        }
    }

    fn graph(&self) -> Result<Graph, InvalidOrder> {
        let nodes: Vec<Node<'_>> = self
            .parts
            .iter()
            .map(|part| Node {
                name: &part.name,
                scope: part.scope.as_deref(),
                dependencies: part.component.dependencies(),
            })
            .collect();
        Graph::new(&nodes)
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.parts.iter().map(|part| &*part.name).collect();
        f.debug_struct("Lifecycle").field("components", &names).finish_non_exhaustive()
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../../../docs/lifecycle.md")]
struct Guide;

#[cfg(test)]
mod tests;
