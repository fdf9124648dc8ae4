//! Clients that tonic generates, over the channel: unary and streaming, on the wire and in process.

#![cfg(feature = "grpc")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::time::Duration;

use axum::Router;
use futures_util::StreamExt as _;
use mainstay_client::{
    Client, Config,
    balance::{Key, Policy},
    discovery::fixed::Fixed,
    grpc::Channel,
};
use mainstay_core::{
    context::{Deadline, RequestContext},
    error::Kind,
};
use mainstay_discovery::{Endpoint, ServiceName, memory};
use support::{LONG, Server, client_of, raw::Raw};
use tonic::{Code, Request, service::Routes};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
    server::HealthReporter,
};

async fn health() -> (HealthReporter, Router) {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("stock", ServingStatus::Serving).await;
    (reporter, Routes::new(service).into_axum_router())
}

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn check_and_watch(mut client: HealthClient<Channel>, reporter: &HealthReporter) {
    let answer = client.check(request("stock")).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
    let status = client.check(request("no such")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    // A stream opened without a timeout stays open beyond the default one.
    let mut watch = client.watch(request("stock")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status, 1);
    reporter.set_service_status("stock", ServingStatus::NotServing).await;
    let next = tokio::time::timeout(LONG, watch.next()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().status, 2);

    let mut bounded = Request::new(request("stock"));
    bounded.set_timeout(Duration::from_millis(300));
    let mut watch = client.watch(bounded).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status, 2);
    let ended = tokio::time::timeout(LONG, watch.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
}

#[tokio::test]
async fn a_generated_client_calls_over_the_wire() {
    let (reporter, router) = health().await;
    let server = Server::start(router).await;
    // Listed as HTTP/1.1: gRPC takes HTTP/2 all the same.
    let client = client_of([server.endpoint()]);
    check_and_watch(HealthClient::new(client.channel("stock")), &reporter).await;
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_generated_client_calls_in_process() {
    let (reporter, router) = health().await;
    let stock: ServiceName = "stock".parse().unwrap();
    let registry = memory::Registry::new();
    let _lease = registry.register(&stock, Endpoint::in_process());
    let client = Client::new(registry);
    client.locals().insert(&stock, router);
    check_and_watch(HealthClient::new(client.channel("stock")), &reporter).await;
}

#[tokio::test]
async fn failures_are_statuses_that_name_service_and_endpoint() {
    let raw = Raw::listen().await;
    let address = raw.address.to_string();
    drop(raw);
    let client = client_of([address.parse::<std::net::SocketAddr>().unwrap().into()]);
    let status = HealthClient::new(client.channel("stock")).check(request("")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("`stock`") && status.message().contains(&address), "{status}");
    assert_eq!(mainstay_core::Error::from(status).kind(), Kind::Unavailable);

    let status = HealthClient::new(client.channel("orders")).check(request("")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("discovery.static.orders"), "{status}");

    let over = RequestContext::new().with_deadline(Deadline::after(Duration::ZERO));
    let mut health = HealthClient::new(client.channel("stock"));
    let status = over.scope(health.check(request(""))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn equal_keys_find_the_same_endpoint() {
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let (reporter, service) = tonic_health::server::health_reporter();
        reporter.set_service_status(name, ServingStatus::Serving).await;
        servers.push(Server::start(Routes::new(service).into_axum_router()).await);
    }
    let mut config = Config::default();
    config.balance.policy = Policy::Hash;
    let fixed = Fixed::new().with("stock", servers.iter().map(Server::endpoint)).unwrap();
    let mut health = HealthClient::new(Client::builder().config(config).build(fixed).channel("stock"));
    let mut seen = std::collections::HashSet::new();
    for user in 0..60 {
        let mut found = Vec::new();
        for _ in 0..3 {
            let mut request = Request::new(request("a"));
            request.extensions_mut().insert(Key::of(format!("user-{user}")));
            found.push(health.check(request).await.is_ok());
        }
        assert!(found.iter().all(|is_a| *is_a == found[0]), "one user, one endpoint: {found:?}");
        seen.insert(found[0]);
    }
    assert_eq!(seen.len(), 2, "different users, different endpoints");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_when_the_server_says_goaway() {
    let mut servers = Vec::new();
    for _ in 0..2 {
        servers.push(Server::start(health().await.1).await);
    }
    let client = client_of(servers.iter().map(Server::endpoint));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (mut health, stopped) = (HealthClient::new(client.channel("stock")), stopped.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while !*stopped.borrow() {
                    // gRPC is POST: only what the server did not work on may be sent again.
                    health.check(request("stock")).await.map_err(|status| status.to_string())?;
                    calls += 1;
                }
                Ok::<_, String>(calls)
            })
        })
        .collect();
    for restart in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let address = servers[restart % 2].address;
        let placeholder = Server::start(Router::new()).await;
        std::mem::replace(&mut servers[restart % 2], placeholder).drain().await;
        let again = Server::start_at(address, health().await.1).await;
        std::mem::replace(&mut servers[restart % 2], again).drain().await;
        while servers[restart % 2].accepted() == 0 && !callers.iter().any(|caller| caller.is_finished()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    stop.send(true).unwrap();
    for caller in callers {
        assert!(caller.await.unwrap().unwrap() > 0);
    }
}
