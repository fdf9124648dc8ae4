//! Services of this process, called as functions.

use std::{collections::HashMap, fmt, future::poll_fn, pin::Pin, sync::Arc};

use arc_swap::ArcSwap;
use http::{Request, Response};
use mainstay_core::{Body, BoxError, task::Tasks};
use mainstay_discovery::{Address, ServiceName};
use tokio::task::JoinHandle;
use tower_service::Service;

use crate::error::Error;

/// After this many nested calls one is run as a task of its own, so that the stack does not run out.
const HOP: u32 = 8;
/// More nested calls than this are a loop.
const DEEPEST: u32 = 64;

tokio::task_local! {
    /// How many in-process calls this code is in.
    static DEPTH: u32;
}

/// The services of this process by name. Cloning is cheap and shares the table; looking one up takes no lock.
///
/// A service is here as its whole stack, so that a call in process meets the same layers as one over the wire: the
/// same headers arrive, a panic becomes the 500 that its own stack makes of it. Put it in, then register an
/// [in-process endpoint](mainstay_discovery::Endpoint::in_process) under the same name.
#[derive(Clone, Default)]
pub struct Locals(Arc<ArcSwap<HashMap<ServiceName, Arc<dyn Local>>>>);

impl Locals {
    /// Without services.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `service` under `name`, in the place of one that was there. Each call is made on a clone of it, once that
    /// is ready; dropping the call drops the clone and the future.
    pub fn insert<S>(&self, name: &ServiceName, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let service: Arc<dyn Local> = Arc::new(Ready(service));
        self.0.rcu(|services| {
            let mut services = HashMap::clone(services);
            services.insert(name.clone(), service.clone());
            services
        });
    }

    /// Takes the service under `name` out; calls that are under way go on.
    pub fn remove(&self, name: &ServiceName) {
        self.0.rcu(|services| {
            let mut services = HashMap::clone(services);
            services.remove(name);
            services
        });
    }

    /// Takes all services out.
    pub(crate) fn clear(&self) {
        self.0.store(Arc::default());
    }

    pub(crate) async fn call(
        &self,
        name: &ServiceName,
        request: Request<Body>,
        tasks: &Tasks,
    ) -> Result<Response<Body>, Error> {
        let Some(service) = self.0.load().get(name).cloned() else {
            let cause = "the endpoint is in this process, but no such service runs in it";
            return Err(Error::connect(name, &Address::InProcess, cause.into()));
        };
        let depth = DEPTH.try_with(|depth| *depth).unwrap_or(0) + 1;
        if depth > DEEPEST {
            return Err(Error::nested(name, depth));
        }
        let answer = DEPTH.scope(depth, service.call(request));
        let answered = if depth.is_multiple_of(HOP) {
            match AbortOnDrop(tasks.spawn(answer)).await {
                Ok(answered) => answered,
                Err(panicked) => Err(panicked.into()),
            }
        } else {
            answer.await
        };
        answered.map_err(|cause| Error::reset(name, &Address::InProcess, cause))
    }
}

impl fmt::Debug for Locals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.load().keys()).finish()
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send + 'a>>;

/// A service with its type erased.
trait Local: Send + Sync {
    fn call(&self, request: Request<Body>) -> Answer<'static>;
}

struct Ready<S>(S);

impl<S> Local for Ready<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn call(&self, request: Request<Body>) -> Answer<'static> {
        let mut service = self.0.clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            service.call(request).await.map_err(Into::into)
        })
    }
}

/// A task that ends with its caller.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
