//! The gateway in front of a client that shows what it was asked.

#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use std::{future::pending, net::SocketAddr, time::Duration};

use axum::extract::ConnectInfo;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, StreamBody};
use mainstay_core::{Body, BoxError, Error, context::RequestContext, error::Kind};
use mainstay_gateway::{Config, Gateway, config::Route};
use tokio::sync::mpsc;
use tower::{Service, ServiceExt, service_fn};

fn config() -> Config {
    let mut limited = Route::path("/limited/{id}", "limited");
    limited.methods = vec!["GET".to_owned(), "DELETE".to_owned()];
    let mut api = Route::prefix("/api", "v2");
    api.rewrite = Some("/v2".to_owned());
    let mut quick = Route::prefix("/quick", "quick");
    quick.timeout = Some(mainstay_core::config::Duration::from_millis(250));
    Config::default()
        .with_route("orders", Route::prefix("/orders", "orders"))
        .with_route("limited", limited)
        .with_route("api", api)
        .with_route("quick", quick)
        .with_route("grpc", Route::prefix("/shop.Inventory", "inventory"))
}

/// Sends one request through a gateway whose client answers by `answer`.
async fn through<F, R>(config: &Config, request: Request<Body>, answer: F) -> Response<Body>
where
    F: Fn(Request<Body>) -> R + Clone,
    R: Future<Output = Result<Response<Body>, BoxError>>,
{
    let gateway = Gateway::new(config, service_fn(answer)).unwrap();
    gateway.oneshot(request).await.unwrap()
}

/// What the client was asked, and what the caller got.
async fn forwarded(config: &Config, request: Request<Body>) -> (Request<Body>, Response<Body>) {
    let (sender, mut asked) = mpsc::unbounded_channel();
    let response = through(config, request, move |request| {
        sender.send(request).unwrap();
        async { Ok(Response::new(Body::from("answer"))) }
    })
    .await;
    (asked.try_recv().expect("the request was forwarded"), response)
}

/// The answer to a request that must not be forwarded.
async fn refused(request: Request<Body>) -> Response<Body> {
    through(&config(), request, |request| async move { panic!("forwarded: {request:?}") }).await
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).header("host", "shop.example").body(Body::empty()).unwrap()
}

async fn json(response: Response<Body>) -> serde_json::Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn the_target_becomes_the_logical_name_and_the_query_is_kept() {
    let (request, _) = forwarded(&config(), get("/orders/7?full=yes&x=%2F")).await;
    assert_eq!(request.uri(), "http://orders/orders/7?full=yes&x=%2F");
    assert_eq!(request.headers()["host"], "orders");
    let (request, _) = forwarded(&config(), get("/api/things/a%2Fb?x")).await;
    assert_eq!(request.uri(), "http://v2/v2/things/a%2Fb?x");
}

#[tokio::test]
async fn what_belongs_to_the_callers_connection_stays_there() {
    let mut request = get("/orders");
    for (name, value) in [
        ("connection", "keep-alive, x-private"),
        ("keep-alive", "timeout=5"),
        ("x-private", "1"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic abc"),
        ("authorization", "Bearer abc"),
        ("x-forwarded-for", "10.0.0.1"),
        ("via", "1.0 before"),
    ] {
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 4711))));
    *request.version_mut() = Version::HTTP_2;
    let (request, _) = forwarded(&config(), request).await;
    let headers = request.headers();
    for name in ["connection", "keep-alive", "x-private", "te", "proxy-authorization"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_eq!(headers["authorization"], "Bearer abc");
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-host"], "shop.example");
    assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"shop.example\";proto=http");
    let via: Vec<_> = headers.get_all("via").iter().collect();
    assert_eq!(via, ["1.0 before", "2 mainstay"]);
}

#[tokio::test]
async fn what_belongs_to_the_upstream_connection_stays_there() {
    let response = through(&config(), get("/orders"), |_| async {
        let response = Response::builder()
            .status(StatusCode::IM_A_TEAPOT)
            .version(Version::HTTP_10)
            .header("connection", "close, x-private")
            .header("x-private", "1")
            .header("proxy-authenticate", "Basic")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .extension("left behind")
            .body(Body::empty());
        Ok(response?)
    })
    .await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.version(), Version::HTTP_11);
    for name in ["connection", "x-private", "proxy-authenticate"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    assert_eq!(response.headers()["via"], "1.0 mainstay");
}

#[tokio::test]
async fn fields_that_services_believe_are_not_taken_from_callers() {
    let mut config = config();
    config.remove_request_fields = vec!["X-Tenant".to_owned()];
    let mut request = get("/orders");
    request.headers_mut().insert("x-tenant", HeaderValue::from_static("north"));
    let (request, _) = forwarded(&config, request).await;
    assert!(!request.headers().contains_key("x-tenant"));
}

#[tokio::test]
async fn bodies_and_trailers_stream_both_ways() {
    let (to_gateway, from_caller) = mpsc::unbounded_channel::<http_body::Frame<bytes::Bytes>>();
    let body = StreamBody::new(futures_util::stream::unfold(from_caller, |mut frames| async {
        frames.recv().await.map(|frame| (Ok::<_, BoxError>(frame), frames))
    }));
    let request = Request::post("/orders").body(Body::new(body)).unwrap();
    // The client answers with the body of the request: nothing may wait for the end of it.
    let response =
        through(&config(), request, |request| async { Ok(Response::new(request.into_body())) }).await;
    let mut frames = response.into_body();
    for word in ["one", "two"] {
        to_gateway.send(http_body::Frame::data(word.into())).unwrap();
        let frame = frames.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("6"));
    to_gateway.send(http_body::Frame::trailers(trailers.clone())).unwrap();
    assert_eq!(frames.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    drop(to_gateway);
    assert!(frames.frame().await.is_none());
}

#[tokio::test]
async fn a_body_that_breaks_off_upstream_breaks_off_here() {
    let response = through(&config(), get("/orders"), |_| async {
        let half: [Result<&str, BoxError>; 2] = [Ok("half"), Err("connection reset".into())];
        Ok(Response::new(Body::from_stream(futures_util::stream::iter(half))))
    })
    .await;
    let mut data = response.into_body().into_data_stream();
    assert_eq!(data.next().await.unwrap().unwrap(), "half");
    assert!(data.next().await.unwrap().is_err());
}

#[tokio::test]
async fn grpc_is_routed_by_its_path_and_keeps_te() {
    let request = Request::post("/shop.Inventory/Reserve")
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(Body::empty())
        .unwrap();
    let (request, _) = forwarded(&config(), request).await;
    assert_eq!(request.uri(), "http://inventory/shop.Inventory/Reserve");
    assert_eq!(request.headers()["te"], "trailers");
}

#[tokio::test]
async fn the_routes_timeout_is_in_the_context_and_an_earlier_deadline_stays() {
    let (asked, _) = forwarded(&config(), get("/quick")).await;
    let context = asked.extensions().get::<RequestContext>().unwrap();
    assert!(context.deadline().unwrap().remaining() <= Duration::from_millis(250));
    let (sender, mut current) = mpsc::unbounded_channel();
    through(&config(), get("/quick"), move |_| {
        let sender = sender.clone();
        async move {
            sender.send(RequestContext::current()).unwrap();
            Ok(Response::new(Body::empty()))
        }
    })
    .await;
    let current = current.try_recv().unwrap().expect("the client is called in the context of the request");
    assert!(current.deadline().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_is_a_504_after_the_routes_timeout() {
    let response = through(&config(), get("/quick"), |_| pending()).await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.headers()["proxy-status"], "mainstay; error=http_response_timeout");
    assert_eq!(json(response).await["detail"], "the service `quick` did not answer in time");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_never_ready_is_a_504_too() {
    #[derive(Clone)]
    struct Never;
    impl Service<Request<Body>> for Never {
        type Response = Response<Body>;
        type Error = BoxError;
        type Future = std::future::Pending<Result<Response<Body>, BoxError>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
            std::task::Poll::Pending
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            panic!("called although it is not ready")
        }
    }
    let response = Gateway::new(&config(), Never).unwrap().oneshot(get("/orders")).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn failures_upstream_are_problems_that_name_the_service_and_nothing_inside() {
    for (error, status, proxy_status) in [
        (Error::new(Kind::Unavailable), 503, "mainstay; error=destination_unavailable"),
        (Error::new(Kind::DeadlineExceeded), 504, "mainstay; error=http_response_timeout"),
        (Error::from(std::io::Error::other("secret")), 502, "mainstay; error=connection_terminated"),
    ] {
        let error = std::sync::Mutex::new(Some(error));
        let error = std::sync::Arc::new(error);
        let response = through(&config(), get("/orders"), |_| {
            let error = error.lock().unwrap().take().unwrap();
            async { Err(error.into_boxed()) }
        })
        .await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["proxy-status"], proxy_status);
        let problem = json(response).await;
        assert!(problem["detail"].as_str().unwrap().contains("`orders`"), "{problem}");
        assert!(!problem.to_string().contains("secret"), "{problem}");
        assert_eq!(problem["trace_id"].as_str().unwrap().len(), 32);
    }
    let request = Request::post("/shop.Inventory/Reserve").header("content-type", "application/grpc");
    let response = through(&config(), request.body(Body::empty()).unwrap(), |_| async {
        Err(Error::new(Kind::Unavailable).into_boxed())
    })
    .await;
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &HeaderValue::from(14))
    );
}

#[tokio::test]
async fn what_no_route_takes_is_404_or_405_with_allow() {
    let response = refused(get("/nowhere")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(json(response).await["status"], 404);
    let request = Request::post("/limited/1").body(Body::empty()).unwrap();
    let response = refused(request).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "DELETE, GET, HEAD");
    let request = Request::post("/shop.Unknown/Method").header("content-type", "application/grpc");
    let response = refused(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()["grpc-status"], "12");
}

#[tokio::test]
async fn paths_with_two_meanings_are_refused() {
    for path in ["/orders/../admin", "/orders/%2e%2e/admin", "/orders/x%2f..%2f..%2fadmin", "/orders/%00"] {
        assert_eq!(refused(get(path)).await.status(), StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn trace_connect_and_upgrades_are_not_forwarded() {
    for method in [Method::TRACE, Method::CONNECT] {
        let mut request = get("/orders");
        *request.method_mut() = method;
        let response = refused(request).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert!(response.headers().contains_key("allow"));
    }
    let mut request = get("/orders");
    request.headers_mut().insert("connection", HeaderValue::from_static("Upgrade"));
    request.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
    let response = refused(request).await;
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(json(response).await["status"], 501);
}

#[tokio::test]
async fn max_forwards_is_counted_down_and_ends_here_at_zero() {
    let options = |uri: &str, forwards: &'static str| {
        let request = Request::options(uri).header("max-forwards", forwards);
        request.body(Body::empty()).unwrap()
    };
    let (request, _) = forwarded(&config(), options("/orders", "3")).await;
    assert_eq!(request.headers()["max-forwards"], "2");
    let response = refused(options("/orders", "0")).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(response.headers()["allow"].to_str().unwrap().contains("POST"));
    for wrong in ["-1", "1.5", "", "99999999999"] {
        assert_eq!(refused(options("/orders", wrong)).await.status(), StatusCode::BAD_REQUEST, "{wrong:?}");
    }
    // Of other methods nobody asks for it: RFC 9110 section 7.6.2.
    let mut request = get("/orders");
    request.headers_mut().insert("max-forwards", HeaderValue::from_static("0"));
    forwarded(&config(), request).await;
}

#[tokio::test]
async fn options_for_the_server_as_a_whole_are_answered_here() {
    let mut request = get("/");
    *request.method_mut() = Method::OPTIONS;
    *request.uri_mut() = "*".parse().unwrap();
    assert_eq!(refused(request).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_request_that_goes_in_circles_is_stopped() {
    let mut request = get("/orders");
    request.headers_mut().insert("via", HeaderValue::try_from(["1.1 mainstay"; 8].join(", ")).unwrap());
    let response = refused(request).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.headers()["proxy-status"], "mainstay; error=proxy_loop_detected");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_dropped() {
    let (held, mut dropped) = mpsc::unbounded_channel::<()>();
    let gateway = Gateway::new(
        &config(),
        service_fn(move |_: Request<Body>| {
            let held = held.clone();
            async move {
                let _held = held;
                pending::<Result<Response<Body>, BoxError>>().await
            }
        }),
    )
    .unwrap();
    let mut call = Box::pin(gateway.oneshot(get("/orders")));
    assert!(futures_util::poll!(&mut call).is_pending());
    assert!(futures_util::poll!(Box::pin(dropped.recv())).is_pending());
    drop(call);
    assert_eq!(dropped.recv().await, None);
}

#[test]
fn a_wrong_configuration_reports_all_its_faults() {
    let mut config = config().with_route("twin", Route::prefix("/orders/", "other"));
    config.name = "not a token".to_owned();
    config.timeout = mainstay_core::config::Duration::ZERO;
    config.remove_request_fields = vec!["x y".to_owned()];
    let client = service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(Response::new(Body::empty())) });
    let error = Gateway::new(&config, client).unwrap_err();
    let keys: Vec<_> = error.faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["routes.twin", "name", "timeout", "remove_request_fields"]);
    assert!(error.to_string().contains("the route `orders` takes the same path too"), "{error}");
}
