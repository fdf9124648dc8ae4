//! What is sent again, and what is not.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use mainstay_client::{Client, Config, Error, discovery::fixed::Fixed};
use mainstay_core::error::Kind;
use mainstay_discovery::{Endpoint, Protocol};
use support::{LONG, Server, client_of, raw::Raw};

/// An endpoint where nothing listens.
async fn nowhere() -> Endpoint {
    let raw = Raw::listen().await;
    raw.endpoint()
}

#[tokio::test]
async fn a_refused_connection_is_made_up_for_by_another_endpoint_whatever_the_method() {
    let server =
        Server::start(Router::new().route("/", get(|| async {}).post(|body: String| async { body }))).await;
    for _ in 0..20 {
        // A client that knows nothing yet, so that the dead one is tried about every second time.
        let client = client_of([nowhere().await, server.endpoint()]);
        assert_eq!(client.post("http://stock/").body("x").send().await.unwrap().text().await.unwrap(), "x");
    }
}

#[tokio::test]
async fn a_dead_endpoint_alone_is_named_in_the_error() {
    let endpoint = nowhere().await;
    let client = client_of([endpoint.clone()]);
    let error = client.get("http://stock/").send().await.unwrap_err();
    let Error::Connect(event) = &error else { panic!("{error:?}") };
    assert_eq!((event.service.as_str(), &event.endpoint), ("stock", endpoint.address()));
    assert!(error.to_string().contains(&endpoint.address().to_string()), "{error}");
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    let raw = Raw::listen().await;
    let client = client_of([raw.endpoint()]);
    let (closed, mut is_closed) = tokio::sync::mpsc::channel(1);
    let peer = tokio::spawn(async move {
        for _ in 0..20 {
            // Answers one request, and closes without saying so before: the next one meets a dead connection.
            let mut connection = raw.accept().await;
            connection.head().await.unwrap();
            connection.ok("x").await;
            drop(connection);
            closed.send(()).await.unwrap();
        }
    });
    for _ in 0..20 {
        // POST: sent again only where it is certain that nothing was sent.
        let text = client.post("http://stock/").send().await.unwrap().text().await.unwrap();
        assert_eq!(text, "x");
        is_closed.recv().await.unwrap();
        // Lets the runtime look at its sockets, where the close is waiting.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    peer.await.unwrap();
}

#[tokio::test]
async fn a_request_that_meets_the_close_is_sent_again_if_its_method_is_idempotent() {
    let raw = Raw::listen().await;
    let client = client_of([raw.endpoint()]);
    let peer = tokio::spawn(async move {
        let mut first = raw.accept().await;
        first.head().await.unwrap();
        first.ok("1").await;
        // The second request is on the connection when it goes.
        assert!(first.head().await.unwrap().contains("x-request-attempt: 0"));
        first.reset();
        let mut second = raw.accept().await;
        let head = second.head().await.unwrap();
        assert!(head.starts_with("GET /2 "), "{head}");
        assert!(head.contains("x-request-attempt: 1"), "{head}");
        second.ok("2").await;
        // And the same for a POST: once only.
        assert!(second.head().await.unwrap().starts_with("POST /3 "));
        second.reset();
        raw
    });
    assert_eq!(client.get("http://stock/1").send().await.unwrap().text().await.unwrap(), "1");
    assert_eq!(client.get("http://stock/2").send().await.unwrap().text().await.unwrap(), "2");
    let error = client.post("http://stock/3").send().await.unwrap_err();
    assert!(matches!(error, Error::Reset(_)), "{error:?}");
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::BadGateway);
    let raw = peer.await.unwrap();
    let again = tokio::time::timeout(Duration::from_millis(200), raw.accept()).await;
    assert!(again.is_err(), "the POST was sent twice");
}

#[tokio::test]
async fn an_idempotent_request_keeps_its_body_over_the_attempts() {
    let raw = Raw::listen().await;
    let client = client_of([raw.endpoint()]);
    let peer = tokio::spawn(async move {
        for attempt in 0..3 {
            let mut connection = raw.accept().await;
            let head = connection.head().await.unwrap();
            assert!(head.contains("content-length: 4"), "{head}");
            assert!(head.contains(&format!("x-request-attempt: {attempt}")), "{head}");
            if attempt == 2 {
                connection.ok("done").await;
                let _ = connection.head().await;
                return;
            }
            connection.reset();
        }
    });
    let response = client.put("http://stock/").body("body").send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "done");
    drop(client);
    peer.await.unwrap();
}

#[tokio::test]
async fn attempts_end_with_the_configured_number_and_with_the_budget() {
    async fn count(budget: f64, max_attempts: u32, calls: usize) -> usize {
        let raw = Raw::listen().await;
        let mut config = Config::default();
        (config.retry.budget, config.retry.max_attempts) = (budget, max_attempts);
        let fixed = Fixed::new().with("stock", [raw.endpoint()]).unwrap();
        let client = Client::builder().config(config).build(fixed);
        let calls = tokio::spawn(async move {
            for _ in 0..calls {
                assert!(matches!(client.get("http://stock/").send().await, Err(Error::Reset(_))));
            }
        });
        let mut attempts = 0;
        let counting = async {
            loop {
                let mut connection = raw.accept().await;
                if connection.head().await.is_some() {
                    attempts += 1;
                    connection.reset();
                }
            }
        };
        tokio::select! { () = counting => {} result = calls => result.unwrap() }
        attempts
    }
    assert_eq!(count(0.2, 3, 1).await, 3);
    assert_eq!(count(0.2, 1, 1).await, 1);
    assert_eq!(count(0.0, 3, 5).await, 5);
    // The reserve is ten retries. Calls that fail pay for none.
    let attempts = count(0.2, 9, 100).await;
    assert_eq!(attempts, 110);
}

#[tokio::test]
async fn an_answer_is_an_answer_whatever_its_status() {
    let router =
        Router::new().route("/", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")]) }));
    let server = Server::start(router).await;
    let client = client_of([server.endpoint()]);
    let response = client.get("http://stock/").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let error = mainstay_core::Error::from(response.error_for_status().unwrap_err());
    assert_eq!((error.kind(), error.retry_after()), (Kind::Unavailable, Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error_that_names_the_endpoint() {
    let raw = Raw::listen().await;
    let client = client_of([raw.endpoint()]);
    let address = raw.address.to_string();
    let peer = tokio::spawn(async move {
        for _ in 0..3 {
            let mut connection = raw.accept().await;
            connection.head().await;
            connection.write("SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
        }
    });
    let error = tokio::time::timeout(LONG, client.get("http://stock/").send()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::BadGateway);
    peer.await.unwrap();
}

const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

#[tokio::test]
async fn a_stream_that_the_peer_did_not_work_on_is_sent_again_whatever_the_method() {
    let raw = Raw::listen().await;
    let client = client_of([raw.endpoint().with_protocol(Protocol::Http2)]);
    let peer = tokio::spawn(async move {
        let mut first = raw.accept().await;
        first.start_http2().await;
        let stream = first.headers().await.unwrap();
        first.reset_stream(stream, REFUSED_STREAM).await;
        // On the same connection: nothing is wrong with it.
        let stream = first.headers().await.unwrap();
        first.no_content(stream).await;

        // The peer goes away, and says that it will not work on the stream that is under way.
        let stream = first.headers().await.unwrap();
        first.goaway(stream - 2).await;
        let mut second = raw.accept().await;
        second.start_http2().await;
        let stream = second.headers().await.unwrap();
        second.no_content(stream).await;

        // A reset for another reason says nothing about what was done.
        let stream = second.headers().await.unwrap();
        second.reset_stream(stream, INTERNAL_ERROR).await;
        let stream = second.headers().await.unwrap();
        second.reset_stream(stream, INTERNAL_ERROR).await;
        let stream = second.headers().await.unwrap();
        second.no_content(stream).await;
        assert_eq!(second.headers().await, None, "a POST was sent again");
    });
    for _ in 0..2 {
        let response = client.post("http://stock/").body("once").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
    let error = client.post("http://stock/").body("once").send().await.unwrap_err();
    assert!(matches!(error, Error::Reset(_)), "{error:?}");
    let response = client.get("http://stock/").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    drop(client);
    tokio::time::timeout(LONG, peer).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_not_done_is_sent_again_once_before_it_counts_as_an_attempt() {
    for (max_attempts, sent, undone, repeats) in [(1, 1, 0, 0), (2, 3, 1, 1)] {
        let raw = Raw::listen().await;
        let mut config = Config::default();
        config.retry.max_attempts = max_attempts;
        let endpoint = raw.endpoint().with_protocol(Protocol::Http2);
        let client = Client::builder().config(config).build(Fixed::new().with("stock", [endpoint]).unwrap());
        let peer = tokio::spawn(async move {
            let mut connection = raw.accept().await;
            connection.start_http2().await;
            let mut requests = 0;
            while let Some(stream) = connection.headers().await {
                connection.reset_stream(stream, REFUSED_STREAM).await;
                requests += 1;
            }
            requests
        });
        let error = client.post("http://stock/").body("once").send().await.unwrap_err();
        assert!(matches!(error, Error::Reset(_)), "{error:?}");
        let target = client.targets().remove(0);
        assert_eq!((target.undone, target.repeats, target.budget), (undone, repeats, 10 - repeats));
        drop(client);
        assert_eq!(tokio::time::timeout(LONG, peer).await.unwrap().unwrap(), sent);
    }
}

#[tokio::test]
async fn what_never_left_is_sent_elsewhere_without_attempts_or_budget() {
    let server = Server::start(Router::new().route("/", get(|| async {}).post(|| async {}))).await;
    let mut config = Config::default();
    config.retry.max_attempts = 2;
    let mut undone = 0;
    for _ in 0..10 {
        let endpoints =
            [nowhere().await, nowhere().await, nowhere().await, nowhere().await, server.endpoint()];
        let fixed = Fixed::new().with("stock", endpoints).unwrap();
        let client = Client::builder().config(config.clone()).build(fixed);
        assert_eq!(client.post("http://stock/").send().await.unwrap().status(), StatusCode::OK);
        let target = client.targets().remove(0);
        assert_eq!((target.repeats, target.budget), (0, 10));
        undone += target.undone;
    }
    assert!(undone > 0);

    // Nobody is there: what is free ends where nothing is well, and the rest with attempts and budget.
    let fixed = Fixed::new().with("stock", [nowhere().await, nowhere().await]).unwrap();
    let client = Client::builder().config(config).build(fixed);
    for _ in 0..20 {
        assert!(matches!(client.post("http://stock/").send().await, Err(Error::Connect(_))));
    }
    let target = client.targets().remove(0);
    assert!(target.undone < 10 && target.budget == 0, "{target:?}");
}

#[tokio::test]
async fn each_service_has_its_own_policy_and_it_can_change() {
    let mut config = Config::default();
    config.retry.max_attempts = 1;
    let mut stubborn = mainstay_client::config::Overrides::default();
    stubborn.retry.max_attempts = Some(2);
    config.services.insert("stubborn".parse().unwrap(), stubborn);
    let raw = Raw::listen().await;
    let fixed = Fixed::new().with("plain", [raw.endpoint()]).unwrap();
    let fixed = fixed.with("stubborn", [raw.endpoint()]).unwrap();
    let client = Client::builder().config(config).build(fixed);
    let attempts = async |url: &str| {
        let mut attempts = 0;
        let call = client.get(url).send();
        let counting = async {
            loop {
                let mut connection = raw.accept().await;
                if connection.head().await.is_some() {
                    attempts += 1;
                    connection.reset();
                }
            }
        };
        tokio::select! { () = counting => {} failed = call => assert!(failed.is_err()) }
        attempts
    };
    assert_eq!((attempts("http://plain/").await, attempts("http://stubborn/").await), (1, 2));

    let mut config = Config::default();
    config.retry.max_attempts = 3;
    client.reconfigure(config);
    assert_eq!((attempts("http://plain/").await, attempts("http://stubborn/").await), (3, 3));
}
