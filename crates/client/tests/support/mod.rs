//! A server for the tests: that of the framework, on real sockets.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    dead_code,
    reason = "tests own their tasks; not every test uses all of it"
)]

pub(crate) mod raw;

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use mainstay_client::{Client, discovery::fixed::Fixed};
use mainstay_core::{
    lifecycle::{Drain, Drainer, Phase},
    server::{self, Stats},
};
use mainstay_discovery::Endpoint;
use tokio::task::JoinHandle;

/// How long a test waits for what should come at once, on a loaded machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stats: Stats,
    drainer: Drainer,
    task: JoinHandle<server::Summary>,
}

impl Server {
    pub(crate) async fn start(router: Router) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), router).await
    }

    pub(crate) async fn start_at(address: SocketAddr, router: Router) -> Self {
        let mut config = server::Config::default();
        config.address = address.to_string().parse().unwrap();
        Self::start_with(&config, router).await
    }

    pub(crate) async fn start_with(config: &server::Config, router: Router) -> Self {
        let server = server::Server::bind(config).unwrap();
        let address = server.local_addr().unwrap_or_else(|| "127.0.0.1:1".parse().unwrap());
        let (drainer, drain) = Drain::channel();
        let stats = server.stats();
        let task = tokio::spawn(server.serve(move |_| router.clone(), drain));
        Self { address, stats, drainer, task }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.address.into()
    }

    /// How many connections were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.stats.snapshot().accepted
    }

    /// As a process that ends: the drain is announced, requests finish, connections are closed.
    pub(crate) async fn drain(self) {
        self.drainer.advance(Phase::Announced);
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.drainer.advance(Phase::Closing);
        tokio::time::timeout(LONG, self.task).await.unwrap().unwrap();
    }
}

pub(crate) fn client_of(endpoints: impl IntoIterator<Item = Endpoint>) -> Client {
    Client::new(Fixed::new().with("stock", endpoints).unwrap())
}
