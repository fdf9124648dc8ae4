//! Connections that are opened ahead of requests, on real sockets.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::time::Duration;

use axum::{Router, routing::get};
use mainstay_client::{Client, Config, pool::Connections};
use mainstay_discovery::{Endpoint, Protocol, Resolve, ServiceName, memory};
use support::{LONG, Server};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// Takes connections, and says nothing on them.
struct Silent(TcpListener);

impl Silent {
    async fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn endpoint(&self) -> Endpoint {
        self.0.local_addr().unwrap().into()
    }

    async fn accept(&self) -> TcpStream {
        tokio::time::timeout(LONG, self.0.accept()).await.expect("a connection in time").unwrap().0
    }

    async fn accept_many(&self, count: usize) -> Vec<TcpStream> {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(self.accept().await);
        }
        streams
    }

    async fn assert_no_more(&self) {
        let more = tokio::time::timeout(Duration::from_millis(300), self.0.accept()).await;
        assert!(more.is_err(), "one too many");
    }
}

/// Waits for the client to close it.
async fn closed(mut stream: TcpStream) {
    let read = tokio::time::timeout(LONG, stream.read(&mut [0; 16])).await.expect("an end in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

fn stock() -> ServiceName {
    "stock".parse().unwrap()
}

fn client(registry: impl Resolve, min_idle: usize, change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config::default();
    config.pool.min_idle = min_idle;
    change(&mut config);
    Client::builder().config(config).build(registry)
}

fn connections(client: &Client) -> Vec<Connections> {
    let targets = client.targets();
    targets[0].balance.endpoints.iter().map(|endpoint| endpoint.more.connections).collect()
}

async fn until(what: impl Fn() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < LONG, "not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn connections_are_there_before_the_first_request_and_replaced_when_they_end() {
    let (first, second) = (Silent::listen().await, Silent::listen().await);
    let registry = memory::Registry::new();
    let _lease = registry.register(&stock(), first.endpoint());
    let client = client(registry.clone(), 3, |_| {});
    client.warm_up("stock").await.unwrap();
    let mut streams = first.accept_many(3).await;
    until(|| connections(&client)[0].http1_idle == 3).await;
    first.assert_no_more().await;
    let shown = serde_json::to_value(client.targets()).unwrap();
    assert_eq!(shown[0]["endpoints"][0]["connections"]["http1_idle"], 3, "{shown}");

    // The peer closes one.
    drop(streams.pop());
    streams.push(first.accept().await);
    first.assert_no_more().await;

    // Another endpoint, and no call that could notice it; then it goes again.
    let lease = registry.register(&stock(), second.endpoint());
    let of_second = second.accept_many(3).await;
    lease.withdraw().await;
    // What is known of the endpoints is taken over by the keeper, and their connections go with them.
    for stream in of_second {
        closed(stream).await;
    }
    let mut config = Config::clone(&client.config());
    config.pool.min_idle = 0;
    client.reconfigure(config);
    until(|| connections(&client).len() == 1).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    streams.clear();
    first.assert_no_more().await;
}

#[tokio::test]
async fn kept_connections_are_replaced_before_they_are_idle_for_too_long() {
    let peer = Silent::listen().await;
    let registry = memory::Registry::new();
    let _lease = registry.register(&stock(), peer.endpoint());
    let client = client(registry, 1, |config| config.pool.idle_timeout = Duration::from_millis(400).into());
    client.warm_up("stock").await.unwrap();
    for _ in 0..3 {
        closed(peer.accept().await).await;
    }
}

#[tokio::test]
async fn requests_take_the_connections_that_are_there() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let server = Server::start(Router::new().route("/", get(|| async { "ok" }))).await;
        let registry = memory::Registry::new();
        let _lease = registry.register(&stock(), server.endpoint().with_protocol(protocol));
        let client = client(registry, 2, |_| {});
        client.warm_up("stock").await.unwrap();
        until(|| connections(&client)[0] != Connections::default()).await;
        until(|| {
            let Connections { http1_idle, http2, .. } = connections(&client)[0];
            (http1_idle, http2) == if protocol == Protocol::Http2 { (0, 2) } else { (2, 0) }
        })
        .await;
        for _ in 0..20 {
            assert_eq!(client.get("http://stock/").send().await.unwrap().text().await.unwrap(), "ok");
        }
        // One that is in use while the keeper looks may be made up for.
        assert!((2..=3).contains(&server.accepted()), "{protocol:?}: {}", server.accepted());
    }
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn what_is_called_over_grpc_is_kept_ready_over_http2_wherever_it_is_listed() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let (_reporter, service) = tonic_health::server::health_reporter();
    let server = Server::start(tonic::service::Routes::new(service).into_axum_router()).await;
    let registry = memory::Registry::new();
    let _lease = registry.register(&stock(), server.endpoint());
    let client = client(registry, 3, |_| {});
    HealthClient::new(client.channel("stock")).check(HealthCheckRequest::default()).await.unwrap();
    until(|| connections(&client)[0].http2 == 3).await;
    assert_eq!((connections(&client)[0].http1_idle, server.accepted()), (0, 3));
}

#[tokio::test]
async fn a_closed_client_keeps_nothing_ready() {
    let peer = Silent::listen().await;
    let registry = memory::Registry::new();
    let _lease = registry.register(&stock(), peer.endpoint());
    let client = client(registry, 2, |_| {});
    client.warm_up("stock").await.unwrap();
    let streams = peer.accept_many(2).await;
    client.close(LONG).await.unwrap();
    for stream in streams {
        closed(stream).await;
    }
    peer.assert_no_more().await;
}
