//! The server: our own accept loop on hyper's HTTP/1 and HTTP/2 connections, with a bound on everything a peer can
//! make it wait for.
//!
//! One port speaks HTTP/1.1, HTTP/2 (prior knowledge, or ALPN over TLS), and what rides on them: gRPC, gRPC-Web,
//! WebSocket. It serves any tower service; the checks that hyper leaves to its user are made before the service sees
//! the request (the clauses are listed in `docs/server.md`).
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use http::{Request, Response};
//! use mainstay_core::{Body, lifecycle::{Drain, Phase}, server::{self, Server}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = server::Config::default();
//! config.address = "127.0.0.1:0".parse()?;
//! let server = Server::bind(&config)?;
//! let (drainer, drain) = Drain::channel();
//!
//! let hello = tower::service_fn(|_: Request<server::Incoming>| async {
//!     Ok::<_, Infallible>(Response::new(Body::from("hello")))
//! });
//! let serving = server.serve(move |_worker| hello, drain);
//!
//! drainer.advance(Phase::Closing);
//! let summary = tokio::time::timeout(Duration::from_secs(5), serving).await?;
//! assert_eq!(summary.left, 0);
//! # Ok(())
//! # }
//! ```

mod accept;
mod address;
mod bind;
mod config;
mod connection;
mod guard;
mod handler;
mod incoming;
mod refuse;
mod serve;
mod signal;
mod stats;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod validate;
mod watch;
mod worker;

use std::{convert::Infallible, fmt, net::SocketAddr, num::NonZeroUsize, sync::Arc, thread};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use serde::Serialize;
use tokio::sync::mpsc;
use tower_service::Service;

pub use address::{Address, Inherited, InvalidAddress};
pub use bind::BindError;
pub use config::{Backlog, Bounds, ClientCertificates, Config, InvalidSetting, ReloadInterval, Shape, Tls};
pub use connection::{Connection, Protocol};
pub use incoming::{BodyError, Incoming, Stalled};
pub use stats::{Bound, Snapshot, Stats, Timeouts};

use bind::Socketed;
use worker::{Limits, Shared};

use crate::{
    BoxError,
    lifecycle::{Drain, Drainer, Phase},
    panics, task,
};

/// A server whose sockets are open, and that serves nobody yet.
pub struct Server {
    sockets: Vec<Socketed>,
    shape: Shape,
    limits: Limits,
    stats: Stats,
    #[cfg(feature = "tls")]
    tls: Option<tls::Acceptor>,
}

/// One of the threads that serve: the argument of the function that makes their service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Worker {
    /// From 0.
    pub index: usize,
    /// How many there are: 1 in the `shared` shape.
    pub count: usize,
}

/// How serving ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The counters at the end.
    pub counted: Snapshot,
    /// Tasks that were still running seconds after they were cut, because their code blocks its thread.
    pub left: usize,
    /// Workers of the `per-core` shape that could not start or panicked.
    pub failed_workers: usize,
}

impl Server {
    /// Checks the settings and opens the sockets; clients can connect from now on, and wait until the server serves.
    ///
    /// # Errors
    /// [`BindError`] says which setting or which address.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        Self::bind_as(config, "server.address")
    }

    /// [`Server::bind`] where the address comes from another setting than `server.address`, which errors then name.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn bind_as(config: &Config, setting: &str) -> Result<Self, BindError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(BindError::Settings(problems));
        }
        #[cfg(feature = "tls")]
        let tls = config.tls.as_ref().map(tls::Acceptor::new).transpose().map_err(BindError::Tls)?;
        let count = match config.shape {
            Shape::Shared => 1,
            Shape::PerCore => {
                let cores = thread::available_parallelism();
                config.workers.or_else(|| cores.ok()).map_or(1, NonZeroUsize::get)
            }
        };
        let sockets = bind::listen(config, setting, count)?;
        // What the service manager hands over is known only now.
        if config.tls.is_some() && sockets.iter().any(|socket| matches!(socket, Socketed::Unix(..))) {
            return Err(BindError::Settings(vec![InvalidSetting::TLS_ON_UNIX]));
        }
        Ok(Self {
            sockets,
            shape: config.shape,
            limits: Limits::new(&config.bounds),
            stats: Stats::default(),
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// The address that was bound, with the port that the system chose for port 0; none for a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self.sockets.first()? {
            Socketed::Tcp(listener) => listener.local_addr().ok(),
            Socketed::Unix(..) => None,
        }
    }

    /// The counters of this server.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// Serves until the drain is over and every connection has ended.
    ///
    /// `make_service` is called once for each worker, on its thread and in its runtime, so that a worker can have a
    /// client pool of its own; each connection works on a clone of what it returns.
    ///
    /// What the phases of the drain do (contract LIFE 3):
    /// - [`Phase::Announced`]: HTTP/1.1 answers carry `Connection: close`, HTTP/2 connections get GOAWAY; new connections
    ///   are still accepted.
    /// - [`Phase::Closing`]: the listener is closed. Connections without a request in flight are closed at once, whatever
    ///   half of something they have sent; the others finish what they have.
    /// - [`Phase::Cut`]: what is left is dropped, upgraded connections included.
    ///
    /// A worker of the `per-core` shape that can't start, or whose `make_service` panics, ends the others too before the
    /// drain has begun: a server with a part of its workers would be taken for a whole one.
    ///
    /// # Cancel safety
    /// Dropping it is [`Phase::Cut`] without waiting: listeners and connections are closed.
    pub async fn serve<F, S, B>(self, make_service: F, drain: Drain) -> Summary
    where
        F: Fn(Worker) -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let stats = self.stats.clone();
        #[cfg(feature = "tls")]
        let _reloading = self.tls.as_ref().map(tls::Acceptor::reload_on_change);
        let mut summary = match self.shape {
            Shape::Shared => self.serve_shared(make_service, drain).await,
            Shape::PerCore => self.serve_per_core(make_service, drain).await,
        };
        summary.counted = stats.snapshot();
        summary
    }

    fn shared(&self) -> Arc<Shared> {
        Shared::new(
            self.limits.clone(),
            self.stats.clone(),
            #[cfg(feature = "tls")]
            self.tls.clone(),
        )
    }

    async fn serve_shared<F, S, B>(mut self, make_service: F, drain: Drain) -> Summary
    where
        F: Fn(Worker) -> S,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Some(socket) = self.sockets.pop() else { return Summary::default() };
        let service = make_service(Worker { index: 0, count: 1 });
        worker::run(socket, service, self.shared(), drain).await.unwrap_or_else(worker_failed)
    }

    async fn serve_per_core<F, S, B>(mut self, make_service: F, drain: Drain) -> Summary
    where
        F: Fn(Worker) -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        panics::install();
        let make_service = Arc::new(make_service);
        let count = self.sockets.len();
        // Ends the threads when this future is dropped.
        let (here, abandoned) = CutOnDrop::new();
        let (ended, mut ends) = mpsc::unbounded_channel();
        let mut threads = Vec::with_capacity(count);
        for (index, socket) in std::mem::take(&mut self.sockets).into_iter().enumerate() {
            let (make_service, shared) = (make_service.clone(), self.shared());
            let (drain, abandoned, end) = (drain.clone(), abandoned.clone(), ended.clone());
            let carried = task::carried();
            let work = move || {
                let work = || {
                    run_worker(async move {
                        let service = make_service(Worker { index, count });
                        tokio::select! {
                            biased;
                            summary = worker::run(socket, service, shared, drain) => summary,
                            () = abandoned.reached(Phase::Cut) => Ok(Summary::default()),
                        }
                    })
                };
                let _carried = carried.map(task::carry);
                let summary = match panics::guard(work) {
                    Ok(summary) => summary.unwrap_or_else(worker_failed),
                    Err(caught) => {
                        let panics::Caught { message, location, backtrace } = &*caught;
                        tracing::error!(
                            index,
                            exception.message = message,
                            exception.stacktrace = backtrace.as_ref().map(tracing::field::display),
                            location,
                            "a worker of the server panicked"
                        );
                        Summary { failed_workers: 1, ..Summary::default() }
                    }
                };
                // Nobody waits for it any more when the server was dropped.
                let _ = end.send(summary);
            };
            match thread::Builder::new().name(format!("server-{index}")).spawn(work) {
                Ok(thread) => threads.push(thread),
                Err(error) => drop(ended.send(worker_failed(error))),
            }
        }
        drop(ended);
        let mut total = Summary::default();
        while let Some(summary) = ends.recv().await {
            total.left += summary.left;
            total.failed_workers += summary.failed_workers;
            if summary.failed_workers > 0 && !drain.has_begun() {
                here.cut();
            }
        }
        for thread in threads {
            // Doesn't block: to send was the last that the thread did.
            let _ = thread.join();
        }
        total
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("sockets", &self.sockets)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

fn run_worker(work: impl Future<Output = std::io::Result<Summary>>) -> std::io::Result<Summary> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let summary = runtime.block_on(work);
    // Blocking work of handlers can't be cut: it must not hold up the end of the process.
    runtime.shutdown_background();
    summary
}

#[expect(clippy::needless_pass_by_value, reason = "it is used as a function of the error")]
fn worker_failed(error: std::io::Error) -> Summary {
    tracing::error!(%error, "a worker of the server could not start");
    Summary { failed_workers: 1, ..Summary::default() }
}

/// Tells the threads of the workers that nobody waits for them any more.
struct CutOnDrop(Drainer);

impl CutOnDrop {
    fn new() -> (Self, Drain) {
        let (drainer, drain) = Drain::channel();
        (Self(drainer), drain)
    }

    fn cut(&self) {
        self.0.advance(Phase::Cut);
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.cut();
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../../../docs/server.md")]
struct Guide;
