//! Who is there when the drain comes: connections that the kernel holds, and those that are cut.

use std::{io::Write as _, net::TcpListener};

use axum::{Router, routing::get as on_get};
use mainstay_core::{
    lifecycle::{Drain, Phase},
    server::{Server, Shape},
};
use tokio::net::TcpStream;

use crate::support::{Peer, config, get, headers, shaped, start, until, within};

#[tokio::test]
async fn who_waits_to_be_accepted_when_the_listener_closes_is_answered() {
    for shape in [Shape::Shared, Shape::PerCore] {
        let server = Server::bind(&shaped(shape)).unwrap();
        let address = server.local_addr().unwrap();
        let (drainer, drain) = Drain::channel();
        // More than tokio lets one task do in a row.
        let mut peers = Vec::new();
        for _ in 0..200 {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(get("/").as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            peers.push(Peer { stream: TcpStream::from_std(stream).unwrap() });
        }
        drainer.advance(Phase::Closing);
        let router = Router::new().route("/", on_get(|| async { "served" }));
        let service = tower::ServiceBuilder::new()
            .map_request(|request: http::Request<mainstay_core::server::Incoming>| {
                request.map(mainstay_core::Body::new)
            })
            .service(router);
        let serving = tokio::spawn(server.serve(move |_| service.clone(), drain));
        for peer in &mut peers {
            assert_eq!(peer.answer().await.text(), "served", "{shape:?}");
        }
        let summary = within(serving).await.unwrap();
        assert_eq!((summary.counted.accepted, summary.counted.cut), (200, 0), "{shape:?}");
    }
}

#[tokio::test]
async fn only_work_that_is_lost_counts_as_cut() {
    let (reached, mut is_reached) = tokio::sync::mpsc::channel(1);
    let never = move || async move {
        reached.send(()).await.unwrap();
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/", on_get(|| async { "done" })).route("/never", on_get(never));
    let server = start(&config(), router);
    let mut idle = server.connect().await;
    idle.send(get("/")).await;
    assert_eq!(idle.answer().await.text(), "done");
    let mut idle_http2 = server.connect().await;
    idle_http2.hello().await;
    let mut silent = server.connect().await;
    let mut busy = server.connect().await;
    busy.send(get("/never")).await;
    let stats = server.stats.clone();
    until(|| stats.snapshot().open == 4).await;
    within(is_reached.recv()).await.unwrap();
    let summary = server.stop_now().await;
    assert_eq!((summary.counted.cut, summary.counted.open), (1, 0));
    for peer in [&mut idle, &mut idle_http2, &mut silent, &mut busy] {
        peer.rest().await;
    }
}

#[tokio::test]
async fn a_message_names_the_setting_that_the_address_comes_from() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.address = taken.local_addr().unwrap().into();
    let error = Server::bind(&config).unwrap_err().to_string();
    assert!(error.contains("(server.address): address already in use"), "{error}");
    let error = Server::bind_as(&config, "admin.address").unwrap_err().to_string();
    assert!(error.contains("(admin.address): address already in use"), "{error}");
}

#[tokio::test]
async fn a_worker_that_cannot_start_ends_the_server_and_not_only_itself() {
    let server = Server::bind(&shaped(Shape::PerCore)).unwrap();
    let (_drainer, drain) = Drain::channel();
    let serving = server.serve(
        |worker| {
            assert!(worker.index == 0, "the test wants this worker to fail");
            Router::new().route("/", on_get(|| async {}))
        },
        drain,
    );
    // The drain never begins.
    let summary = within(serving).await;
    assert_eq!((summary.failed_workers, summary.left), (1, 0));
}

#[tokio::test]
async fn a_request_that_crosses_the_goaway_on_a_long_way_is_answered() {
    let server = start(&config(), Router::new().route("/", on_get(|| async {})));
    let mut peer = server.connect().await;
    peer.hello().await;
    server.advance(Phase::Announced);
    peer.frame_of_type(7).await;
    // More than the round trip to the other side of the world.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    peer.send(headers(1, true, "GET", "/")).await;
    peer.frame_of_type(1).await;
    server.stop().await;
}
