//! Calls to services of the same process.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::{convert::Infallible, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    http::Request,
    routing::{any, get},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use mainstay_client::{Client, Error};
use mainstay_core::{
    context::{Deadline, RequestContext},
    error::Kind,
    middleware::context::ContextLayer,
};
use mainstay_discovery::{Endpoint, FirstOf, Lease, ServiceName, fixed::Fixed, memory};
use support::{LONG, Server};
use tokio::sync::mpsc;

/// A client, and `stock` in its process.
fn local(router: Router) -> (Client, Lease) {
    let stock: ServiceName = "stock".parse().unwrap();
    let registry = memory::Registry::new();
    let lease = registry.register(&stock, Endpoint::in_process());
    let client = Client::builder().build(registry);
    client.locals().insert(&stock, router);
    (client, lease)
}

#[tokio::test]
async fn the_callee_sees_what_would_have_come_over_the_wire() {
    let router = Router::new().route(
        "/items/{id}",
        get(|request: Request<Body>| async move {
            let header = |name| request.headers()[name].to_str().unwrap().to_owned();
            let extensions = request.extensions().get::<&'static str>().is_some();
            Json(serde_json::json!({
                "uri": request.uri().to_string(), "version": format!("{:?}", request.version()),
                "host": header("host"), "id": header("x-request-id"), "extensions": extensions,
                "attempt": header("x-request-attempt"), "has timeout": request.headers().contains_key("x-request-timeout"),
            }))
        }),
    );
    let (client, _lease) = local(router);
    let context = RequestContext::new().with_deadline(Deadline::after(LONG));
    let mut request = Request::get("http://stock/items/7?a=b").body(Body::empty()).unwrap();
    request.extensions_mut().insert("not for others");
    let response = context.clone().scope(client.send(request)).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "uri": "/items/7?a=b", "version": "HTTP/1.1", "host": "stock", "id": context.request_id().to_string(),
        "extensions": false, "attempt": "0", "has timeout": true,
    });
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_context_of_the_callee_is_read_from_the_headers() {
    let handler = |context: RequestContext| async move {
        let deadline = context.deadline().unwrap();
        let now = RequestContext::current().unwrap();
        assert_eq!(now.request_id(), context.request_id());
        format!("{} {}", context.request_id(), deadline.is_explicit())
    };
    let router = Router::new().route("/", get(handler)).layer(ContextLayer::default());
    let (client, _lease) = local(router);
    let context = RequestContext::new().with_deadline(Deadline::after(LONG));
    let expected = format!("{} true", context.request_id());
    let call = async { client.get("http://stock/").send().await.unwrap().text().await.unwrap() };
    assert_eq!(context.scope(call).await, expected);
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let (client, _lease) =
        local(Router::new().route("/echo", any(|request: Request<Body>| async move { request.into_body() })));
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let stream =
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) });
    let request = Request::post("http://stock/echo").body(Body::from_stream(stream)).unwrap();
    let mut body = client.send(request).await.unwrap().into_body().into_data_stream();
    for part in ["first", "second"] {
        sender.send(Ok(part.into())).await.unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), part);
    }
    drop(sender);
    assert!(body.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_and_giving_up_drops_the_callee() {
    struct Dropped(mpsc::UnboundedSender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (dropped, mut is_dropped) = mpsc::unbounded_channel();
    let handler = move || {
        let dropped = Dropped(dropped.clone());
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
        }
    };
    let endless = || async { Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()) };
    let (client, _lease) = local(Router::new().route("/", get(handler)).route("/endless", get(endless)));

    let error = client.get("http://stock/").send().await.unwrap_err();
    assert!(error.is_elapsed() && error.to_string().contains("in-process"), "{error}");
    assert!(is_dropped.recv().await.is_some());

    let response = client.get("http://stock/endless").timeout(Duration::from_secs(1)).send().await.unwrap();
    let error = response.bytes().await.unwrap_err();
    assert!(error.is_elapsed(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_at_the_deadline_is_heard_after_it() {
    let gives_up = |context: RequestContext| async move {
        tokio::time::sleep_until(context.deadline().unwrap().at()).await;
        (axum::http::StatusCode::GATEWAY_TIMEOUT, "it took too long")
    };
    let (client, _lease) = local(Router::new().route("/", get(gives_up)).layer(ContextLayer::default()));
    // It travels in whole milliseconds: the callee gives up first.
    let context = RequestContext::new().with_deadline(Deadline::after(Duration::from_micros(100_900)));
    let request = Request::get("http://stock/").body(Body::empty()).unwrap();
    let response = context.scope(client.send(request)).await.unwrap();
    tokio::time::advance(Duration::from_millis(1)).await;
    let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
    assert_eq!(body, "it took too long");
}

#[tokio::test]
async fn services_that_call_each_other_in_a_loop_get_an_error_and_no_stack_overflow() {
    let names: [ServiceName; 2] = ["ping".parse().unwrap(), "pong".parse().unwrap()];
    let registry = memory::Registry::new();
    let _leases = names.each_ref().map(|name| registry.register(name, Endpoint::in_process()));
    let client = Client::new(registry);
    for (name, other) in [(&names[0], "http://pong/"), (&names[1], "http://ping/")] {
        let caller = client.clone();
        let handler = move || {
            let client = caller.clone();
            async move {
                // What a handler passes on, its caller's caller sees.
                match client.get(other).send().await {
                    Ok(response) => response.text().await.unwrap(),
                    Err(Error::Loop(event)) => format!("{} deep", event.depth),
                    Err(error) => panic!("{error}"),
                }
            }
        };
        client.locals().insert(name, Router::new().route("/", get(handler)));
    }
    let text = client.get("http://ping/").send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "65 deep");
}

#[tokio::test]
async fn a_service_of_this_process_comes_before_the_configured_copies_and_they_take_over() {
    let stock: ServiceName = "stock".parse().unwrap();
    let remote = Server::start(Router::new().route("/", get(|| async { "remote" }))).await;
    let registry = memory::Registry::new();
    let fixed = Fixed::new().with("stock", [remote.endpoint()]).unwrap();
    let client = Client::new(FirstOf::new(registry.clone()).or(fixed));
    let call = || async { client.get("http://stock/").send().await.unwrap().text().await.unwrap() };
    assert_eq!(call().await, "remote");

    client.locals().insert(&stock, Router::new().route("/", get(|| async { "local" })));
    let lease = registry.register(&stock, Endpoint::in_process());
    assert_eq!(call().await, "local");
    drop(lease);
    client.locals().remove(&stock);
    assert_eq!(call().await, "remote");
}

#[tokio::test]
async fn an_endpoint_in_this_process_without_a_service_says_so() {
    let (client, _lease) = local(Router::new());
    client.locals().remove(&"stock".parse().unwrap());
    let error = client.get("http://stock/").send().await.unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_closed_client_lets_go_of_the_services_that_hold_it() {
    let stock: ServiceName = "stock".parse().unwrap();
    let registry = memory::Registry::new();
    let _lease = registry.register(&stock, Endpoint::in_process());
    let client = Client::builder().build(registry);
    let alive = std::sync::Arc::new(());
    let (state, is_alive) = ((client.clone(), alive.clone()), std::sync::Arc::downgrade(&alive));
    let router = Router::new().route("/", get(|| async {})).with_state(state.clone());
    let router = router.layer(axum::Extension(state));
    client.locals().insert(&stock, router);
    drop(alive);
    client.get("http://stock/").send().await.unwrap();
    client.close(LONG).await.unwrap();
    assert!(is_alive.upgrade().is_none(), "nothing holds the service any more");
    let error = client.get("http://stock/").send().await.unwrap_err();
    assert_eq!(mainstay_core::Error::from(error).kind(), Kind::Unavailable);
}
