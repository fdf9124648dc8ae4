//! A server for the tests: real sockets, hyper's own graceful shutdown.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    dead_code,
    reason = "tests own their tasks; not every test uses all of it"
)]

pub(crate) mod raw;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use mainstay_client::{Client, discovery::fixed::Fixed};
use mainstay_discovery::Endpoint;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// How long a test waits for what should come at once, on a loaded machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// How many connections were accepted.
    pub(crate) connections: Arc<AtomicUsize>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(router: Router) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), router).await
    }

    pub(crate) async fn start_at(address: SocketAddr, router: Router) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, router, connections.clone(), stopped));
        Self { address, connections, stop, task }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.address.into()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Closes the listener, lets requests finish, closes the connections.
    pub(crate) async fn drain(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(LONG, self.task).await.unwrap().unwrap();
    }
}

async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Arc<AtomicUsize>,
    mut stopped: oneshot::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            _ = &mut stopped => break,
        };
        connections.fetch_add(1, Ordering::SeqCst);
        let service = TowerToHyperService::new(router.clone());
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

pub(crate) fn client_of(endpoints: impl IntoIterator<Item = Endpoint>) -> Client {
    Client::new(Fixed::new().with("stock", endpoints).unwrap())
}
