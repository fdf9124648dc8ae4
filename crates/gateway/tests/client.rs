//! The gateway in front of the client, as it stands in a host.

#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use axum::{Router, extract::OriginalUri, http::HeaderMap, routing::get};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use mainstay_client::{
    Client,
    discovery::{Endpoint, Lease, ServiceName, memory::Registry},
};
use mainstay_core::{
    Body,
    context::{Deadline, RequestContext},
    lifecycle::{Drain, Phase},
    server,
    task::Tasks,
};
use mainstay_gateway::{Config, Gateway, config::Route};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::ServiceExt;

/// A gateway to one service of this process, which is known as long as the lease is held.
fn gateway() -> (Gateway<Client>, Lease) {
    let show = async |OriginalUri(uri): OriginalUri, headers: HeaderMap| {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        format!("{uri} {} {} {}", text("host"), text("x-request-id"), text("x-request-timeout"))
    };
    let registry = Registry::new();
    let client = Client::new(registry.clone());
    let name = ServiceName::new("orders").unwrap();
    client.locals().insert(&name, Router::new().route("/{*path}", get(show)));
    let lease = registry.register(&name, Endpoint::in_process());
    let config = Config::default()
        .with_route("orders", Route::prefix("/orders", "orders"))
        .with_route("ghost", Route::prefix("/ghost", "ghost"));
    (Gateway::new(&config, client).unwrap(), lease)
}

async fn ask(request: Request<Body>) -> (StatusCode, String) {
    let (gateway, _lease) = gateway();
    let response: Response<Body> = gateway.into_router().with_state(()).oneshot(request).await.unwrap();
    let status = response.status();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap())
}

#[tokio::test]
async fn a_service_of_the_process_gets_the_request_with_its_context() {
    let context = RequestContext::new()
        .with_request_id("id-1".parse().unwrap())
        .with_deadline(Deadline::after(std::time::Duration::from_secs(9)));
    let request = Request::get("/orders/7?x=1").header("host", "shop.example").extension(context);
    let (status, body) = ask(request.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let (start, timeout) = body.rsplit_once(' ').unwrap();
    assert_eq!(start, "/orders/7?x=1 orders id-1");
    assert_ne!(timeout, "-", "the caller's deadline is passed on");
}

#[tokio::test]
async fn the_routes_own_timeout_is_not_passed_on() {
    // It bounds the wait for the head here; sent on, it would end a stream that is opened through the gateway.
    let (_, body) = ask(Request::get("/orders").body(Body::empty()).unwrap()).await;
    assert!(body.ends_with(" -"), "{body}");
}

#[tokio::test]
async fn a_service_without_endpoints_is_a_503_that_names_it() {
    let (status, body) = ask(Request::get("/ghost").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("`ghost`"), "{body}");
    assert!(!body.contains("discovery.static"), "the hint is for the log: {body}");
}

#[tokio::test]
async fn behind_the_server_the_callers_address_is_that_of_its_connection() {
    let registry = Registry::new();
    let client = Client::new(registry.clone());
    let name = ServiceName::new("orders").unwrap();
    let show = async |headers: HeaderMap| headers["forwarded"].to_str().unwrap_or("-").to_owned();
    client.locals().insert(&name, Router::new().fallback(show));
    let _lease = registry.register(&name, Endpoint::in_process());
    let config = Config::default().with_route("all", Route::prefix("/", "orders"));
    let router: Router = Gateway::new(&config, client).unwrap().into_router();

    let mut settings = server::Config::default();
    settings.address = "127.0.0.1:0".parse().unwrap();
    let server = server::Server::bind(&settings).unwrap();
    let address = server.local_addr().unwrap();
    let (drainer, drain) = Drain::channel();
    let serving = Tasks::new().spawn(async move { server.serve(move |_| router.clone(), drain).await });

    let mut connection = TcpStream::connect(address).await.unwrap();
    let request =
        "GET /x HTTP/1.1\r\nhost: shop.example\r\nforwarded: for=10.0.0.1\r\nconnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("for=127.0.0.1;host=\"shop.example\";proto=http"), "{answer}");
    drainer.advance(Phase::Cut);
    serving.await.unwrap();
}
