//! The parts that a process is made of.

use std::{borrow::Cow, future::Future, time::Duration};

use super::Context;
use crate::Result;

/// A part of a process that is started before requests come and stopped after the last one: a pool, a consumer, a
/// registration, a server.
///
/// Each hook has a bound; at it the hook's future is dropped. Each runs as a task of its own, where a panic is
/// contained and reported with the component's name. Hooks take `&self`: what `start` makes is kept in a `OnceLock`,
/// or by [`component`](super::component), which takes closures.
///
/// | hook | called | bound |
/// |---|---|---|
/// | [`start`](Component::start) | when what it depends on has started | `lifecycle.start_timeout` |
/// | [`ready`](Component::ready) | every 10 s from then on, as a readiness check | 5 s |
/// | [`withdraw`](Component::withdraw) | when the drain is announced, all at once | `lifecycle.stop_timeout` |
/// | [`drain`](Component::drain) | when the listeners close and what depends on it has drained | `drain.timeout` |
/// | [`stop`](Component::stop) | when what depends on it has stopped | `lifecycle.stop_timeout` |
///
/// `stop` is called only if `start` returned `Ok`. A `start` that fails or is dropped cleans up by itself, by drop.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a component",
    label = "expected a type that implements `lifecycle::Component`",
    note = "implement `Component` for it, or make one of closures: `lifecycle::component(\"name\", |context| async {{ Ok(()) }})`"
)]
pub trait Component: Send + Sync + 'static {
    /// Its name, unique in the process; in the log, in errors, and what others depend on.
    fn name(&self) -> &str;

    /// What has to be started before it and stopped after it.
    fn dependencies(&self) -> Dependencies {
        Dependencies::none()
    }

    /// Its own bound on `start`.
    fn start_timeout(&self) -> Option<Duration> {
        None
    }

    /// Its own bound on `stop`.
    fn stop_timeout(&self) -> Option<Duration> {
        None
    }

    /// Makes it work. Its long-running parts belong to `context`.
    fn start(&self, context: Context) -> impl Future<Output = Result<()>> + Send;

    /// Whether it can do its work now; its error is shown by `/readyz?verbose`.
    fn ready(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Takes back what others find the process by.
    fn withdraw(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Ends the work it has taken on, and takes no more. Work given to [`Context::serve`] is waited for anyway.
    fn drain(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Lets go of what it holds. Its tasks have ended, or had half of the bound to do so.
    fn stop(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// What a component has to wait for.
#[derive(Debug, Clone, Default)]
pub struct Dependencies {
    pub(super) tier: Tier,
    pub(super) names: Vec<Cow<'static, str>>,
}

/// Components of a later tier depend on all of the earlier ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    First,
    #[default]
    Middle,
    Last,
}

impl Dependencies {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The components of these names.
    #[must_use]
    pub fn on<N: Into<Cow<'static, str>>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { tier: Tier::Middle, names: names.into_iter().map(Into::into).collect() }
    }

    /// Every component that does not say so itself: started last, drained and stopped first. For servers.
    #[must_use]
    pub fn everything() -> Self {
        Self { tier: Tier::Last, names: Vec::new() }
    }

    /// Nothing, and every component that does not say so itself depends on this one: started first, stopped last. For
    /// what the others report to.
    #[must_use]
    pub fn before_everything() -> Self {
        Self { tier: Tier::First, names: Vec::new() }
    }

    /// And this one: a registration waits for everything and for the server.
    #[must_use]
    pub fn and(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.names.push(name.into());
        self
    }
}
