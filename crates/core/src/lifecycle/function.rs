//! Components made of closures.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use super::{BoxFuture, Component, Context, Dependencies};
use crate::{Error, Result, error::Kind};

type Start<T> = Box<dyn FnOnce(Context) -> BoxFuture<Result<T>> + Send>;
type Hook<T> = Box<dyn Fn(Arc<T>) -> BoxFuture<Result<()>> + Send + Sync>;

/// A component made of closures: `start` gives a value, the other hooks get it.
///
/// ```
/// use mainstay_core::lifecycle::component;
/// # struct Pool;
/// # impl Pool {
/// #     async fn connect() -> std::io::Result<Self> { Ok(Self) }
/// #     async fn ping(&self) -> std::io::Result<()> { Ok(()) }
/// #     async fn close(&self) {}
/// # }
///
/// let database = component("database", |_| async { Ok(Pool::connect().await?) })
///     .on_ready(|pool| async move { Ok(pool.ping().await?) })
///     .on_stop(|pool| async move {
///         pool.close().await;
///         Ok(())
///     });
/// ```
pub fn component<T, F, R>(name: impl Into<Cow<'static, str>>, start: F) -> FnComponent<T>
where
    T: Send + Sync + 'static,
    F: FnOnce(Context) -> R + Send + 'static,
    R: Future<Output = Result<T>> + Send + 'static,
{
    FnComponent {
        name: name.into(),
        dependencies: Dependencies::none(),
        start_timeout: None,
        stop_timeout: None,
        start: Mutex::new(Some(Box::new(move |context| Box::pin(start(context))))),
        value: OnceLock::new(),
        ready: None,
        withdraw: None,
        drain: None,
        stop: None,
    }
}

/// See [`component`].
pub struct FnComponent<T> {
    name: Cow<'static, str>,
    dependencies: Dependencies,
    start_timeout: Option<Duration>,
    stop_timeout: Option<Duration>,
    start: Mutex<Option<Start<T>>>,
    value: OnceLock<Arc<T>>,
    ready: Option<Hook<T>>,
    withdraw: Option<Hook<T>>,
    drain: Option<Hook<T>>,
    stop: Option<Hook<T>>,
}

impl<T: Send + Sync + 'static> FnComponent<T> {
    /// What has to be started before it: `.after(["database"])`, or [`Dependencies`].
    #[must_use]
    pub fn after(mut self, dependencies: impl Into<Dependencies>) -> Self {
        self.dependencies = dependencies.into();
        self
    }

    /// Its own bound on the start.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// Its own bound on the stop.
    #[must_use]
    pub fn with_stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = Some(timeout);
        self
    }

    /// [`Component::ready`].
    #[must_use]
    pub fn on_ready<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(Arc<T>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.ready = Some(Box::new(move |value| Box::pin(hook(value))));
        self
    }

    /// [`Component::withdraw`].
    #[must_use]
    pub fn on_withdraw<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(Arc<T>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.withdraw = Some(Box::new(move |value| Box::pin(hook(value))));
        self
    }

    /// [`Component::drain`].
    #[must_use]
    pub fn on_drain<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(Arc<T>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.drain = Some(Box::new(move |value| Box::pin(hook(value))));
        self
    }

    /// [`Component::stop`].
    #[must_use]
    pub fn on_stop<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(Arc<T>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.stop = Some(Box::new(move |value| Box::pin(hook(value))));
        self
    }

    async fn call(&self, hook: Option<&Hook<T>>) -> Result<()> {
        match (hook, self.value.get()) {
            (Some(hook), Some(value)) => hook(value.clone()).await,
            _ => Ok(()),
        }
    }
}

impl<T: Send + Sync + 'static> Component for FnComponent<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn dependencies(&self) -> Dependencies {
        self.dependencies.clone()
    }

    fn start_timeout(&self) -> Option<Duration> {
        self.start_timeout
    }

    fn stop_timeout(&self) -> Option<Duration> {
        self.stop_timeout
    }

    async fn start(&self, context: Context) -> Result<()> {
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(start) = start else {
            return Err(Error::new(Kind::Internal).with_detail("was started before"));
        };
        let value = start(context).await?;
        // Set once: `start` was taken above.
        drop(self.value.set(Arc::new(value)));
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        self.call(self.ready.as_ref()).await
    }

    async fn withdraw(&self) -> Result<()> {
        self.call(self.withdraw.as_ref()).await
    }

    async fn drain(&self) -> Result<()> {
        self.call(self.drain.as_ref()).await
    }

    async fn stop(&self) -> Result<()> {
        self.call(self.stop.as_ref()).await
    }
}

impl<T> fmt::Debug for FnComponent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnComponent").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<const N: usize> From<[&'static str; N]> for Dependencies {
    fn from(names: [&'static str; N]) -> Self {
        Self::on(names)
    }
}
