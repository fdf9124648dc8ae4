//! What the service sends along when it calls another, and what it counts of that.

use std::time::Instant;

use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version},
};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    service::{MADE_ID, Shared},
    spans::{CLIENT, Own, Span},
};

/// Calls the dependency, once.
pub(crate) async fn call(shared: Shared, request: Request) -> Result<Bytes, StatusCode> {
    let fields = along(&shared, request.version(), request.headers());
    let started = Instant::now();
    let traceparent = fields["traceparent"].to_str().expect("is text").to_owned();
    let called = ask(fields).await.map_err(|_| StatusCode::BAD_GATEWAY);
    if !shared.has("calls-uncounted") {
        let error = if called.is_ok() || shared.has("no-error") { "" } else { "connection_closed" };
        shared.metrics.count_call(called.is_ok(), error, started.elapsed());
    }
    let own = request.extensions().get::<Own>().map(|own| own.0.clone()).unwrap_or_default();
    span(&shared, &traceparent, own, called.is_ok());
    called
}

async fn ask(fields: HeaderMap) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let port: u16 = std::env::var("SERVICE_DEPENDENCY")?.parse()?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await?)).await?;
    tokio::spawn(connection);
    let mut request =
        hyper::Request::get("/items").header("host", "dependency").body(Empty::<Bytes>::new())?;
    request.headers_mut().extend(fields);
    let answer = sender.send_request(request).await?;
    if !answer.status().is_success() {
        return Err(answer.status().to_string().into());
    }
    Ok(answer.into_body().collect().await?.to_bytes())
}

/// TRACE 2: of the one attempt.
fn span(shared: &Shared, traceparent: &str, own: String, is_answered: bool) {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let id = if shared.has("other-span") { "00000000000000aa" } else { parts[2] };
    let mut attributes = vec![
        ("http.request.method", "GET".to_owned()),
        ("server.address", "dependency".to_owned()),
        ("url.full", "http://dependency/items".to_owned()),
    ];
    if is_answered {
        attributes.push(("http.response.status_code", "200".to_owned()));
    } else if !shared.has("no-error-type") {
        attributes.push(("error.type", "connection_closed".to_owned()));
    }
    let parent = if shared.has("lonely-span") { String::new() } else { own };
    let (trace, name) = (parts[1].to_owned(), "GET".to_owned());
    Span { trace, id: id.to_owned(), parent, name, kind: CLIENT, attributes }.send();
}

/// TRACE 1 and 4.
fn along(shared: &Shared, version: Version, came: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut put = |name: &'static str, value: String| {
        let value = HeaderValue::try_from(value).expect("it was one, or is made of digits");
        fields.insert(HeaderName::from_static(name), value);
    };
    let mut traceparents = came.get_all("traceparent").iter();
    let traceparent = traceparents.next().filter(|_| traceparents.next().is_none());
    let traceparent = traceparent.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_heard = version == Version::HTTP_11 || !shared.has("http2-untraced");
    let read = read(shared, traceparent).filter(|_| is_heard);
    let span = random();
    let made = if shared.has("one-trace") { 7 } else { u128::from(span) };
    put(
        "traceparent",
        match &read {
            Some((trace, _, flags)) if !shared.has("same-span") => {
                format!("00-{trace}-{span:016x}-{flags:02x}")
            }
            Some((trace, parent, flags)) => format!("00-{trace}-{parent}-{flags:02x}"),
            None if shared.has("any-parent") && !traceparent.is_empty() => traceparent.to_owned(),
            None => format!("00-{made:032x}-{span:016x}-02"),
        },
    );
    let lines = if shared.has("one-line") { 1 } else { usize::MAX };
    let list = |name: &str| {
        let lines = came.get_all(name).iter().take(lines).filter_map(|line| line.to_str().ok());
        lines.collect::<Vec<_>>().join(",")
    };
    let state = list("tracestate");
    let is_continued = read.is_some() || shared.has("state-alone");
    if is_continued && (is_state(&state) || (shared.has("any-state") && !state.is_empty())) {
        put("tracestate", state);
    }
    let baggage = list("baggage");
    let most = if shared.has("short") { 4096 } else { 8192 };
    let baggage = match shared.has("cut") {
        true => baggage.chars().take(most).collect(),
        false => members_within(&baggage, most),
    };
    if !baggage.is_empty() {
        put("baggage", baggage);
    }
    let id = came.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    match id {
        _ if shared.has("no-id") => {}
        MADE_ID if shared.has("another-id") => put("x-request-id", "another".to_owned()),
        id => put("x-request-id", id.to_owned()),
    }
    fields
}

/// Trace, span and flags of what is a `traceparent`.
pub(crate) fn read<'a>(shared: &Shared, field: &'a str) -> Option<(&'a str, &'a str, u8)> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = field.split('-').collect();
    let [version, trace, span, flags, more @ ..] = &parts[..] else { return None };
    let is_whole = [(*version, 2), (*trace, 32), (*span, 16), (*flags, 2)]
        .iter()
        .all(|(text, length)| text.len() == *length && is_hex(text));
    let is_id = |id: &str| id.bytes().any(|byte| byte != b'0');
    let is_known = match *version {
        "00" => more.is_empty(),
        "ff" => false,
        _ => !shared.has("only-00"),
    };
    if !is_whole || !is_id(trace) || !is_id(span) || !is_known {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let known = match &*shared.fault {
        "no-random" => 1,
        "any-flag" => 0xff,
        _ => 3,
    };
    Some((trace, span, flags & known))
}

fn is_state(list: &str) -> bool {
    let members: Vec<&str> = list.split(',').map(str::trim).collect();
    let is_key = |key: &str| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let is_value = |value: &str| (1..=256).contains(&value.len()) && !value.contains('=');
    let is_member =
        |member: &&str| member.split_once('=').is_some_and(|(key, value)| is_key(key) && is_value(value));
    members.len() <= 32 && members.iter().all(is_member)
}

/// As many as fit, each whole.
fn members_within(list: &str, most: usize) -> String {
    let mut kept = String::new();
    for member in list.split(',').map(str::trim).filter(|member| !member.is_empty()).take(64) {
        let comma = if kept.is_empty() { "" } else { "," };
        if kept.len() + comma.len() + member.len() <= most {
            kept.extend([comma, member]);
        }
    }
    kept
}

/// Never zero, and never the same twice.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0) | 1
}
