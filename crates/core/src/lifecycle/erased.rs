//! Components behind one type.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{Component, Context, Dependencies};
use crate::Result;

/// A boxed future.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// [`Component`], for `dyn`. Its futures own the component: each hook is a task.
pub(super) trait Erased: Send + Sync {
    fn name(&self) -> &str;
    fn dependencies(&self) -> Dependencies;
    fn start_timeout(&self) -> Option<Duration>;
    fn stop_timeout(&self) -> Option<Duration>;
    fn start(self: Arc<Self>, context: Context) -> BoxFuture<Result<()>>;
    fn ready(self: Arc<Self>) -> BoxFuture<Result<()>>;
    fn withdraw(self: Arc<Self>) -> BoxFuture<Result<()>>;
    fn drain(self: Arc<Self>) -> BoxFuture<Result<()>>;
    fn stop(self: Arc<Self>) -> BoxFuture<Result<()>>;
}

impl<C: Component> Erased for C {
    fn name(&self) -> &str {
        Component::name(self)
    }

    fn dependencies(&self) -> Dependencies {
        Component::dependencies(self)
    }

    fn start_timeout(&self) -> Option<Duration> {
        Component::start_timeout(self)
    }

    fn stop_timeout(&self) -> Option<Duration> {
        Component::stop_timeout(self)
    }

    fn start(self: Arc<Self>, context: Context) -> BoxFuture<Result<()>> {
        Box::pin(async move { Component::start(self.as_ref(), context).await })
    }

    fn ready(self: Arc<Self>) -> BoxFuture<Result<()>> {
        Box::pin(async move { Component::ready(self.as_ref()).await })
    }

    fn withdraw(self: Arc<Self>) -> BoxFuture<Result<()>> {
        Box::pin(async move { Component::withdraw(self.as_ref()).await })
    }

    fn drain(self: Arc<Self>) -> BoxFuture<Result<()>> {
        Box::pin(async move { Component::drain(self.as_ref()).await })
    }

    fn stop(self: Arc<Self>) -> BoxFuture<Result<()>> {
        Box::pin(async move { Component::stop(self.as_ref()).await })
    }
}

/// Any component, behind one type: for lists of them. Clones share it.
#[derive(Clone)]
pub struct DynComponent(pub(super) Arc<dyn Erased>);

impl DynComponent {
    /// Erases the type of `component`.
    #[must_use]
    pub fn new(component: impl Component) -> Self {
        Self(Arc::new(component))
    }
}

impl Component for DynComponent {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn dependencies(&self) -> Dependencies {
        self.0.dependencies()
    }

    fn start_timeout(&self) -> Option<Duration> {
        self.0.start_timeout()
    }

    fn stop_timeout(&self) -> Option<Duration> {
        self.0.stop_timeout()
    }

    fn start(&self, context: Context) -> impl Future<Output = Result<()>> + Send {
        self.0.clone().start(context)
    }

    fn ready(&self) -> impl Future<Output = Result<()>> + Send {
        self.0.clone().ready()
    }

    fn withdraw(&self) -> impl Future<Output = Result<()>> + Send {
        self.0.clone().withdraw()
    }

    fn drain(&self) -> impl Future<Output = Result<()>> + Send {
        self.0.clone().drain()
    }

    fn stop(&self) -> impl Future<Output = Result<()>> + Send {
        self.0.clone().stop()
    }
}

impl fmt::Debug for DynComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynComponent").field(&self.0.name()).finish()
    }
}
