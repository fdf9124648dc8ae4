//! A service made of hyper and axum that keeps the contract as far as the two let it, and breaks one promise when
//! told to. It runs in a process of its own, because the drain checks end it.

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    process::exit,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, uri::Authority},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    auth::{self, Keys},
    call,
    metrics::Metrics,
    spans::{Own, SERVER, Span},
};

pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
const READ_TIMEOUT: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_millis(1_500);
const CAPACITY: usize = 64;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a request without an id, or with a malformed one, gets.
pub(crate) const MADE_ID: &str = "5f1c2e00-0000-4000-8000-000000000000";

#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) fault: String,
    ready: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    draining: watch::Receiver<bool>,
    pub(crate) metrics: Metrics,
    pub(crate) keys: Keys,
}

#[derive(Debug, serde::Deserialize)]
struct Order {
    quantity: u64,
}

impl Shared {
    pub(crate) fn has(&self, fault: &str) -> bool {
        self.fault == fault
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}

/// Serves until SIGTERM, then ends the process.
pub(crate) async fn run() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let fault = variable("SERVICE_BREAKS");
    let address =
        |name: &str| SocketAddr::from((Ipv4Addr::LOCALHOST, variable(name).parse().expect("a port")));
    let delay = Duration::from_millis(variable("SERVICE_DELAY_MS").parse().unwrap_or(0));
    refuse_wrong_settings(&fault);

    let (drain, draining) = watch::channel(false);
    let shared = Shared {
        fault,
        ready: Arc::default(),
        in_flight: Arc::default(),
        draining,
        metrics: Metrics::default(),
        keys: Keys::default(),
    };
    let admin = TcpListener::bind(address("SERVICE_ADMIN")).await.expect("the admin port is free");
    tokio::spawn(axum::serve(admin, probes(&shared)).into_future());
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    sleep(Duration::from_millis(100)).await;
    let main = TcpListener::bind(address("SERVICE_MAIN")).await.expect("the main port is free");
    let accepting = tokio::spawn(accept(main, shared.clone()));
    shared.ready.store(true, SeqCst);

    terminate.recv().await;
    if shared.has("in-flight") {
        exit(0);
    }
    drain.send_replace(true);
    if shared.has("second-signal") {
        // Handled by doing nothing.
        tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    } else {
        let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => exit(143),
                _ = interrupt.recv() => exit(130),
            }
        });
    }
    sleep(delay).await;
    if !shared.has("stops-accepting") {
        accepting.abort();
    }
    if shared.has("exit") {
        pending::<()>().await;
    }
    let idle = async {
        while shared.in_flight.load(SeqCst) > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        // The last answers and GOAWAYs have to reach the wire.
        sleep(Duration::from_millis(500)).await;
    };
    let _ = timeout(DRAIN_TIMEOUT, idle).await;
    exit(i32::from(shared.has("status")));
}

/// LIFE 1: before a socket opens.
fn refuse_wrong_settings(fault: &str) {
    let mut wrong: Vec<String> =
        [("SERVICE_SERVER__ADDRESS", "an address"), ("SERVICE_DRAIN__TIMEOUT", "a duration")]
            .iter()
            .filter_map(|(name, expected)| {
                let value = std::env::var(name).ok()?;
                let key = name.trim_start_matches("SERVICE_").to_lowercase().replace("__", ".");
                Some(format!("{key}: `{value}` from {name}: expected {expected}"))
            })
            .collect();
    match fault {
        "refuses" => return,
        "reports-all" => wrong.truncate(1),
        _ => {}
    }
    if !wrong.is_empty() {
        eprintln!("{}", wrong.join("\n"));
        exit(78);
    }
}

fn probes(shared: &Shared) -> Router {
    let answer = |verbose: bool, ok: bool| {
        let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, if verbose { "ok\ndatabase: ok, 2s ago" } else { "ok" })
    };
    let ready = shared.clone();
    let started = shared.clone();
    let counted = shared.clone();
    let is_verbose = |request: &Request| request.uri().query() == Some("verbose");
    Router::new()
        .route("/livez", get(move || async move { answer(false, true) }))
        .route("/startupz", get(move || async move { answer(false, started.ready.load(SeqCst)) }))
        .route("/metrics", get(move |fields: HeaderMap| async move { exposition(&counted, &fields) }))
        .route(
            "/readyz",
            get(move |request: Request| async move {
                let draining = ready.is_draining() && !ready.has("readyz");
                answer(is_verbose(&request), ready.ready.load(SeqCst) && !draining)
            }),
        )
}

/// METRIC 1: in the format that is asked for.
fn exposition(shared: &Shared, fields: &HeaderMap) -> Response {
    let accept = fields.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut text = shared.metrics.text(!shared.has("no-target"));
    let kind = if accept.contains("openmetrics") {
        if !shared.has("eof") {
            text.push_str("# EOF\n");
        }
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else if shared.has("metrics-type") {
        "application/json"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn routes(shared: Shared) -> Router {
    let calling = shared.clone();
    let closed = |wanted| from_fn_with_state((shared.clone(), wanted), auth::closed);
    Router::new()
        .route("/closed", get(async || "let in").layer(closed("")))
        .route("/scoped", get(async || "let in").layer(closed("write")))
        .route("/service.Closed/Call", post(async || grpc_status(0)).layer(closed("")))
        .route("/service.Scoped/Call", post(async || grpc_status(0)).layer(closed("write")))
        .route("/call", get(move |request: Request| call::call(calling, request)))
        .route("/products", get(async || "[]"))
        .route("/orders", post(async |Json(order): Json<Order>| order.quantity.to_string()))
        .route(
            "/slow",
            get(async || {
                sleep(SLOW).await;
                "done"
            }),
        )
        .route("/events", get(events))
        .route("/hang", get(async || pending::<String>().await))
        .route("/panic", get(async || -> String { panic!("a handler that panics, on purpose") }))
        .route("/grpc.health.v1.Health/{method}", post(health))
        .route(
            "/service.Slow/Call",
            post(async || {
                sleep(SLOW).await;
                grpc_status(0)
            }),
        )
        .layer(from_fn_with_state(shared, guard))
}

/// Says something ten times a second, for ever.
async fn events() -> Body {
    Body::from_stream(futures_util::stream::unfold((), async |()| {
        sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, io::Error>("data: tick\n\n"), ()))
    }))
}

async fn accept(listener: TcpListener, shared: Shared) {
    let routes = routes(shared.clone());
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, routes.clone(), shared.clone()));
    }
}

async fn connection(stream: TcpStream, routes: Router, shared: Shared) -> io::Result<()> {
    let patience = if shared.has("no-bytes") { Duration::MAX } else { READ_TIMEOUT };
    let http2 = timeout(patience, speaks_http2(&stream)).await??;
    let is_late = shared.is_draining();
    let mut draining = shared.draining.clone();
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |request| hyper::service::Service::call(&routes, request));
    let stream = TokioIo::new(stream);
    // Both builders give a connection of a type of its own, so the wait is written twice.
    if http2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let connection =
            builder.timer(TokioTimer::new()).max_concurrent_streams(100).serve_connection(stream, service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return Ok(()),
            _ = draining.wait_for(|draining| *draining) => {}
        }
        if !shared.has("goaway") {
            connection.as_mut().graceful_shutdown();
        }
        let _ = connection.await;
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT);
        let connection = builder.serve_connection(stream, service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return Ok(()),
            _ = draining.wait_for(|draining| *draining) => {}
        }
        // hyper would close a connection that has had no request yet; one accepted during the delay is owed an answer,
        // whose `Connection: close` ends it.
        if !shared.has("keep-alive") && !is_late {
            connection.as_mut().graceful_shutdown();
        }
        let _ = connection.await;
    }
    Ok(())
}

async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut start).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !PREFACE.starts_with(&start[..count]) {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// The whole stack in one function: a fixture is read once.
async fn guard(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let (version, path) = (request.version(), request.uri().path().to_owned());
    let started = Instant::now();
    let is_grpc = request.headers().get("content-type").is_some_and(|value| value == "application/grpc");
    let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok()?.get(3..35));
    let trace = trace.map_or_else(|| "ab".repeat(16), str::to_owned);
    let id = request_id(&shared, request.headers());
    request.headers_mut().insert("x-request-id", id.clone());
    let own = format!("{:016x}", call::random());
    request.extensions_mut().insert(Own(own.clone()));
    let (method, fields) = (request.method().clone(), request.headers().clone());
    let answer = counted(&shared, request, next).await;
    span(&shared, &method, &path, &fields, own, answer.status());
    if is_grpc && !shared.has("grpc-uncounted") {
        let code = match answer.status() {
            StatusCode::OK => "OK",
            StatusCode::GATEWAY_TIMEOUT => "DEADLINE_EXCEEDED",
            _ => "UNIMPLEMENTED",
        };
        shared.metrics.count_grpc(path.trim_start_matches('/'), code, started.elapsed());
    }

    if is_grpc && !answer.status().is_success() {
        return grpc_status(match answer.status() {
            StatusCode::GATEWAY_TIMEOUT => 4,
            StatusCode::NOT_FOUND => 12,
            StatusCode::UNAUTHORIZED if !shared.has("internal") => 16,
            StatusCode::FORBIDDEN => 7,
            _ => 13,
        });
    }
    let mut answer =
        if answer.status().as_u16() >= 400 { problem(answer, &path, &trace).await } else { answer };
    answer.headers_mut().insert("x-request-id", id);
    if shared.is_draining() && version == Version::HTTP_11 && !shared.has("keep-alive") {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// TRACE 2. No route here has a parameter: the path is the template.
fn span(shared: &Shared, method: &Method, path: &str, fields: &HeaderMap, id: String, status: StatusCode) {
    let traceparent = fields.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((trace, parent, _)) = call::read(shared, traceparent) else { return };
    let parent = if shared.has("no-parent") { "" } else { parent };
    let name = if shared.has("span-name") { path.to_owned() } else { format!("{method} {path}") };
    let mut attributes = vec![
        ("http.request.method", method.to_string()),
        ("url.scheme", "http".to_owned()),
        ("url.path", path.to_owned()),
        ("http.response.status_code", status.as_str().to_owned()),
    ];
    if !shared.has("no-route") {
        attributes.push(("http.route", path.to_owned()));
    }
    Span { trace: trace.to_owned(), id, parent: parent.to_owned(), name, kind: SERVER, attributes }.send();
}

/// METRIC 2 and 3.
async fn counted(shared: &Shared, request: Request, next: Next) -> Response {
    let (method, path, started) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let version = request.version();
    shared.in_flight.fetch_add(1, SeqCst);
    shared.metrics.begin(&method);
    let answer = stack(shared, request, next).await;
    if !shared.has("active") {
        shared.metrics.end(&method);
    }
    let is_left_out = shared.has("http2-uncounted") && version == Version::HTTP_2;
    if !shared.has("uncounted") && !is_left_out {
        let path = if shared.has("paths") { path.as_str() } else { "" };
        shared.metrics.count(&method, answer.status().as_u16(), path, started.elapsed());
    }
    shared.in_flight.fetch_sub(1, SeqCst);
    answer
}

/// TRACE 4: the one that came, unless it is malformed.
fn request_id(shared: &Shared, fields: &HeaderMap) -> HeaderValue {
    let is_good = |id: &&HeaderValue| {
        let is_safe = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        shared.has("any-id") || (id.len() <= 128 && id.as_bytes().iter().all(is_safe))
    };
    let came = fields.get("x-request-id").filter(is_good).filter(|_| !shared.has("own-id"));
    came.cloned().unwrap_or_else(|| HeaderValue::from_static(MADE_ID))
}

async fn stack(shared: &Shared, request: Request, next: Next) -> Response {
    if shared.in_flight.load(SeqCst) > CAPACITY {
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response();
    }
    let deadline = match deadline(request.headers()) {
        Ok(deadline) => deadline.unwrap_or(Duration::from_secs(2)),
        Err(status) => return status.into_response(),
    };
    if request.version() == Version::HTTP_11 && !has_one_good_host(request.headers()) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let (head, body) = request.into_parts();
    let body = match timeout(READ_TIMEOUT, to_bytes(body, 2 << 20)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    // A task of its own contains the panic, and is aborted by its deadline.
    let handler = tokio::spawn(next.run(Request::from_parts(head, Body::from(body))));
    match timeout(deadline, handler).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) if shared.has("internals") => {
            (StatusCode::INTERNAL_SERVER_ERROR, "panicked at src/main.rs").into_response()
        }
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}

fn deadline(fields: &HeaderMap) -> Result<Option<Duration>, StatusCode> {
    let Some(value) = fields.get("x-request-timeout").or_else(|| fields.get("grpc-timeout")) else {
        return Ok(None);
    };
    let parse = || {
        let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len() - 1)?;
        let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| is_number)?;
        match unit {
            "S" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_millis(number)),
            _ => None,
        }
    };
    parse().map(Some).ok_or(StatusCode::BAD_REQUEST)
}

fn has_one_good_host(fields: &HeaderMap) -> bool {
    let mut hosts = fields.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let port = authority.as_str().strip_prefix(authority.host());
        let is_port = |port: &str| port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        port.is_some_and(|port| port.is_empty() || is_port(port))
    })
}

async fn problem(answer: Response, path: &str, trace: &str) -> Response {
    let (mut head, body) = answer.into_parts();
    let detail = to_bytes(body, 1 << 16).await.unwrap_or_default();
    let body = json!({
        "type": "about:blank",
        "title": head.status.canonical_reason(),
        "status": head.status.as_u16(),
        "instance": path,
        "trace_id": trace,
        "detail": String::from_utf8_lossy(&detail),
    });
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(body.to_string()))
}

/// `grpc.health.v1.Health`, its messages written out byte for byte.
async fn health(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body = to_bytes(request.into_body(), 1 << 10).await.unwrap_or_default();
    let service = String::from_utf8_lossy(body.get(7..).unwrap_or_default()).into_owned();
    let is_known = service.is_empty() || service == "service.Slow";
    match (path.rsplit('/').next().unwrap_or_default(), is_known) {
        ("Check", true) => grpc_reply(b"\0\0\0\0\x02\x08\x01"),
        ("Check", false) => grpc_status(5),
        ("List", _) => grpc_reply(b"\0\0\0\0\x06\x0a\x04\x12\x02\x08\x01"),
        ("Watch", false) => {
            let first = Bytes::from_static(b"\0\0\0\0\x02\x08\x03");
            let open = futures_util::stream::once(async { Ok::<_, io::Error>(first) });
            let never = futures_util::stream::pending();
            grpc(Body::from_stream(futures_util::StreamExt::chain(open, never)))
        }
        _ => grpc_status(12),
    }
}

fn grpc(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/grpc")], body).into_response()
}

fn grpc_reply(message: &'static [u8]) -> Response {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from(0))]);
    grpc(Body::new(Body::from(message).with_trailers(async { Some(Ok(trailers)) })))
}

fn grpc_status(code: u16) -> Response {
    let mut answer = grpc(Body::empty());
    answer.headers_mut().insert("grpc-status", HeaderValue::from(code));
    answer
}
