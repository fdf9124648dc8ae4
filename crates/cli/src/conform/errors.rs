//! ERR: what an error looks like from outside.

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    check::{Check, Evidence, Finding, check},
    problem::{Trace, problem},
    settings::Route,
    subject::{Exchange, Subject, skipped},
    wire::{
        PATIENCE, Trouble, grpc,
        http1::{Answer, Connection, Request},
    },
};

pub(crate) static CHECKS: &[Check] = &[
    check!("ERR.1.not-found", "an unknown path is a 404 problem", [], not_found),
    check!("ERR.1.method", "another method on a known route is a 405 problem with Allow", [Route], method),
    check!("ERR.1.json-syntax", "a body that is no JSON is a 400 problem", [JsonRoute], json_syntax),
    check!(
        "ERR.1.json-field",
        "a field of the wrong type is a 422 or 400 problem that names it",
        [JsonRoute, JsonBody],
        json_field
    ),
    check!(
        "ERR.1.content-type",
        "another content type than JSON is a 415 problem",
        [JsonRoute],
        content_type
    ),
    check!("ERR.1.body-length", "a body declared over the bound is a 413 problem", [JsonRoute], body_length),
    check!(
        "ERR.1.body-chunked",
        "a chunked body that grows over the bound is a 413 problem",
        [JsonRoute],
        body_chunked
    ),
    check!("ERR.1.long-target", "a request target of 128 KiB is a 414 or 431 problem", [], long_target),
    check!("ERR.1.header-bytes", "a megabyte of header is a 431 problem", [], header_bytes),
    check!("ERR.1.header-count", "2,000 fields are a 431 problem", [], header_count),
    check!(
        "ERR.1.slow-header",
        "a header that never ends is a 408 problem, or the connection is closed",
        [],
        slow_header
    ),
    check!("ERR.1.host-missing", "HTTP/1.1 without Host is a 400 problem", [], host_missing),
    check!("ERR.1.host-twice", "two Host fields are a 400 problem", [], host_twice),
    check!("ERR.1.host-malformed", "a Host that is none is a 400 problem", [], host_malformed),
    check!(
        "ERR.1.two-lengths",
        "Transfer-Encoding beside Content-Length is a 400 problem, or the end of the connection",
        [],
        two_lengths
    ),
    check!("ERR.1.panic", "a panic is a 500 problem", [PanicRoute], panic_is_a_problem),
    check!(
        "ERR.2.unimplemented",
        "an unknown gRPC method is UNIMPLEMENTED, trailers-only",
        [Grpc],
        unimplemented
    ),
    check!(
        "ERR.3.no-internals",
        "a 500 shows no paths, type names or panic text",
        [PanicRoute],
        no_internals
    ),
];

const NOWHERE: &str = "/mainstay-conform/no-such-path";

async fn not_found(subject: &Subject) -> Finding {
    subject
        .send(&Request::get(NOWHERE).traced())
        .await
        .expect(&a_problem("404"), |answer| problem(answer, &[404], Trace::Sent))
}

async fn method(subject: &Subject) -> Finding {
    let route = route(subject)?;
    // Harmless where the route turns out to know it after all: it carries no patch.
    let other = if route.method == "PATCH" { Method::PUT } else { Method::PATCH };
    let request = Request::new(other.as_str(), &route.path).traced();
    subject.send(&request).await.expect(
        &format!("{}, and Allow: {}", a_problem("405"), route.method),
        |answer| {
            let allow = answer.field("allow").ok_or("Allow is missing");
            let is_listed = |allow: String| allow.split(',').any(|method| method.trim() == route.method);
            both(
                problem(answer, &[405], Trace::Sent),
                match allow.map(is_listed) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(format!("Allow does not list {}", route.method)),
                    Err(missing) => Err(missing.to_owned()),
                },
            )
        },
    )
}

async fn json_syntax(subject: &Subject) -> Finding {
    subject
        .send(&json_request(subject)?.with_body("application/json", "{\"unfinished").traced())
        .await
        .expect(&a_problem("400"), |answer| problem(answer, &[400], Trace::Sent))
}

async fn json_field(subject: &Subject) -> Finding {
    let good = subject.settings.json_body.as_ref().ok_or_else(|| skipped("needs --json-body"))?;
    let (field, body) = with_one_field_wrong(good).ok_or_else(|| skipped("--json-body has no field"))?;
    subject.send(&json_request(subject)?.with_body("application/json", body).traced()).await.expect(
        &format!("{} whose text names `{field}`", a_problem("422 (or 400)")),
        |answer| {
            let is_named = answer.text().contains(&field);
            both(
                problem(answer, &[422, 400], Trace::Sent),
                is_named.then_some(()).ok_or_else(|| format!("`{field}` is not named")),
            )
        },
    )
}

async fn content_type(subject: &Subject) -> Finding {
    let body = subject.settings.json_body.clone().unwrap_or_default();
    subject
        .send(&json_request(subject)?.with_body("text/plain", Value::Object(body).to_string()).traced())
        .await
        .expect(&a_problem("415"), |answer| problem(answer, &[415], Trace::Sent))
}

async fn body_length(subject: &Subject) -> Finding {
    let route = json_route(subject)?;
    let length = subject.settings.max_body + 1;
    let mut bytes = head(subject, route, &format!("content-length: {length}"));
    bytes.extend_from_slice(&oversized(length));
    let sent = format!("{} {} | content-length: {length} | as many bytes", route.method, route.path);
    raw(subject, sent, &bytes).await.expect(&a_problem("413"), |answer| problem(answer, &[413], Trace::Sent))
}

async fn body_chunked(subject: &Subject) -> Finding {
    let route = json_route(subject)?;
    let length = subject.settings.max_body + 1;
    let mut bytes = head(subject, route, "transfer-encoding: chunked");
    for chunk in oversized(length).chunks(64 << 10) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let sent = format!("{} {} | transfer-encoding: chunked | {length} bytes", route.method, route.path);
    raw(subject, sent, &bytes).await.expect(&a_problem("413"), |answer| problem(answer, &[413], Trace::Sent))
}

async fn long_target(subject: &Subject) -> Finding {
    let target = format!("/mainstay-conform/{}", "a".repeat(128 << 10));
    let bytes = Request::get(&target).traced().bytes(subject.main());
    raw(subject, "GET /mainstay-conform/aaa… of 128 KiB".to_owned(), &bytes)
        .await
        .expect(&a_problem("414 or 431"), |answer| problem(answer, &[414, 431], Trace::Any))
}

async fn header_bytes(subject: &Subject) -> Finding {
    let mut request = Request::get(NOWHERE);
    for number in 0..64 {
        request = request.with(&format!("x-long-{number}"), &"a".repeat(16 << 10));
    }
    let bytes = request.bytes(subject.main());
    raw(subject, format!("GET {NOWHERE} | 64 fields of 16 KiB"), &bytes)
        .await
        .expect(&a_problem("431"), |answer| problem(answer, &[431], Trace::Any))
}

async fn header_count(subject: &Subject) -> Finding {
    let mut request = Request::get(NOWHERE);
    for number in 0..2_000 {
        request = request.with(&format!("x-{number}"), "");
    }
    let bytes = request.bytes(subject.main());
    raw(subject, format!("GET {NOWHERE} | 2,000 short fields"), &bytes)
        .await
        .expect(&a_problem("431"), |answer| problem(answer, &[431], Trace::Any))
}

async fn slow_header(subject: &Subject) -> Finding {
    let sent = format!("GET {NOWHERE} HTTP/1.1 | host | and then nothing");
    let bound = subject.settings.header_timeout + super::limit::SLACK;
    let half = format!("GET {NOWHERE} HTTP/1.1\r\nhost: {}\r\nx-half", subject.main().authority());
    let came = async {
        let mut connection = Connection::open(subject.main()).await?;
        connection.write(half.as_bytes()).await?;
        connection.answer(bound).await
    }
    .await;
    let shown = came.as_ref().map_or_else(ToString::to_string, |answer| answer.summary());
    let expected = format!("{}, or the end of the connection, within {bound:?}", a_problem("408"));
    Evidence::new(sent, expected, shown).judge(match came {
        Ok(answer) => problem(&answer, &[408], Trace::Any),
        Err(trouble) if trouble.is_end() => Ok(()),
        Err(trouble) => Err(trouble.to_string()),
    })
}

async fn host_missing(subject: &Subject) -> Finding {
    refused(subject, &[], "GET / HTTP/1.1 without Host").await
}

async fn host_twice(subject: &Subject) -> Finding {
    let host = format!("host: {}", subject.main().authority());
    refused(subject, &[&host, "host: elsewhere.example"], "GET / HTTP/1.1 with two Host fields").await
}

/// RFC 9112 section 3.2 with RFC 3986 section 3.2.2: spaces, user information and a port out of range.
async fn host_malformed(subject: &Subject) -> Finding {
    let mut last = Err(skipped("nothing was sent"));
    for host in ["a b", "user@localhost", "localhost:99999", "localhost:80x", "exa/mple"] {
        last = refused(subject, &[&format!("host: {host}")], &format!("GET / HTTP/1.1 | host: {host}")).await;
        if last.is_err() {
            break;
        }
    }
    last
}

/// RFC 9112 section 6.1: refused, or read by Transfer-Encoding alone; either way nothing may follow on the connection.
async fn two_lengths(subject: &Subject) -> Finding {
    let authority = subject.main().authority();
    let message = format!(
        "POST / HTTP/1.1\r\nhost: {authority}\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    let sent = "POST / | content-length: 5 | transfer-encoding: chunked".to_owned();
    raw(subject, sent, message.as_bytes()).await.expect(
        "400 application/problem+json, or Connection: close",
        |answer| {
            if answer.status != 400 && answer.says_close() {
                return Ok(());
            }
            problem(answer, &[400], Trace::Any)
        },
    )
}

async fn panic_is_a_problem(subject: &Subject) -> Finding {
    panicking(subject).await?.expect(&a_problem("500"), |answer| problem(answer, &[500], Trace::Sent))
}

async fn no_internals(subject: &Subject) -> Finding {
    panicking(subject).await?.expect("500 whose text shows nothing of the program", |answer| {
        let text = told(answer);
        let shown: Vec<&str> = INTERNALS.iter().copied().filter(|internal| text.contains(internal)).collect();
        match (answer.status, shown.as_slice()) {
            (500, []) => Ok(()),
            (500, shown) => Err(format!("the body contains `{}`", shown.join("`, `"))),
            (other, _) => Err(format!("status is {other}")),
        }
    })
}

/// What the answer tells of the fault: all but the URIs of a problem, which may well end in `.rs` or hold `/usr/`.
fn told(answer: &Answer) -> String {
    match serde_json::from_slice(&answer.body) {
        Ok(Value::Object(mut members)) => {
            members.remove("type");
            members.remove("instance");
            Value::Object(members).to_string()
        }
        _ => answer.text(),
    }
}

/// Traces of a program in Rust, Go, Java, Python and JavaScript.
const INTERNALS: &[&str] = &[
    "panicked",
    "src/",
    ".rs",
    "::",
    "RUST_BACKTRACE",
    "stack backtrace",
    "goroutine ",
    ".go:",
    ".java:",
    "Exception",
    "Traceback",
    ".py\"",
    "node_modules",
    "/home/",
    "/usr/",
];

async fn unimplemented(subject: &Subject) -> Finding {
    let method = "/mainstay.conform.NoSuchService/NoSuchMethod";
    let came = grpc::call(subject.main(), method, &[], None, PATIENCE).await;
    let shown = came.as_ref().map_or_else(ToString::to_string, grpc::Outcome::summary);
    let expected =
        "200 with content-type: application/grpc and grpc-status: 12 (UNIMPLEMENTED), trailers-only";
    Evidence::new(format!("gRPC {method}"), expected, shown).judge(match came {
        Err(trouble) => Err(trouble.to_string()),
        Ok(outcome) if outcome.code != Some(grpc::UNIMPLEMENTED) => Err("not UNIMPLEMENTED".to_owned()),
        Ok(outcome) if outcome.http_status != 200 => Err("HTTP status is not 200".to_owned()),
        Ok(outcome) if !outcome.content_type.starts_with("application/grpc") => {
            Err("content-type is not application/grpc".to_owned())
        }
        Ok(outcome) if !outcome.trailers_only => {
            Err("the status came after a body, not in the header".to_owned())
        }
        Ok(_) => Ok(()),
    })
}

async fn panicking(subject: &Subject) -> Result<Exchange, super::check::Miss> {
    let route = subject.settings.panic_route.as_ref().ok_or_else(|| skipped("needs --panic-route"))?;
    Ok(subject.send(&route.request().traced()).await)
}

async fn refused(subject: &Subject, fields: &[&str], sent: &str) -> Finding {
    let mut message = String::from("GET / HTTP/1.1\r\n");
    for field in fields {
        message.push_str(field);
        message.push_str("\r\n");
    }
    message.push_str("\r\n");
    raw(subject, sent.to_owned(), message.as_bytes())
        .await
        .expect(&a_problem("400"), |answer| problem(answer, &[400], Trace::Any))
}

async fn raw(subject: &Subject, sent: String, bytes: &[u8]) -> Exchange {
    let start = tokio::time::Instant::now();
    let came =
        async { Connection::open(subject.main()).await?.write_while_reading(bytes, PATIENCE).await }.await;
    Exchange { sent, came: came.map_err(early_reset), took: start.elapsed() }
}

/// A reset on a connection that still had bytes to read is how a service loses its own answer.
fn early_reset(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Reset => Trouble::Unusable(
            "the connection was reset before an answer could be read (close it only after reading what is \
             under way, RFC 9112 section 9.6)"
                .to_owned(),
        ),
        other => other,
    }
}

fn head(subject: &Subject, route: &Route, framing: &str) -> Vec<u8> {
    let (method, path, lines) = (&route.method, &route.path, subject.main().lines());
    let trace = super::problem::TRACE_ID;
    format!(
        "{method} {path} HTTP/1.1\r\n{lines}content-type: application/json\r\n\
         traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n{framing}\r\n\r\n"
    )
    .into_bytes()
}

/// A JSON text of `length` bytes, so that nothing but its size is wrong.
fn oversized(length: usize) -> Vec<u8> {
    let mut body = vec![b' '; length];
    if let Some(end) = body.last_chunk_mut::<2>() {
        *end = *b"{}";
    }
    body
}

/// The body with its first field given a value of another type, and that field's name.
fn with_one_field_wrong(good: &Map<String, Value>) -> Option<(String, String)> {
    let (field, value) = good.iter().next()?;
    let wrong = match value {
        Value::Object(_) | Value::Array(_) | Value::Null => json!("not what was expected"),
        _ => json!({ "not": ["what", "was", "expected"] }),
    };
    let mut body = good.clone();
    body.insert(field.clone(), wrong);
    Some((field.clone(), Value::Object(body).to_string()))
}

fn json_route(subject: &Subject) -> Result<&Route, super::check::Miss> {
    subject.settings.json_route.as_ref().ok_or_else(|| skipped("needs --json-route"))
}

fn json_request(subject: &Subject) -> Result<Request, super::check::Miss> {
    json_route(subject).map(Route::request)
}

fn route(subject: &Subject) -> Result<&Route, super::check::Miss> {
    subject.settings.route.as_ref().ok_or_else(|| skipped("needs --route"))
}

fn a_problem(status: &str) -> String {
    format!("{status} application/problem+json with type, title, status, instance, trace_id")
}

fn both(one: Result<(), String>, other: Result<(), String>) -> Result<(), String> {
    match (one, other) {
        (Err(one), Err(other)) => Err(format!("{one}; {other}")),
        (one, other) => one.and(other),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, oversized, told, with_one_field_wrong};

    #[test]
    fn the_uris_of_a_problem_are_no_internals_and_its_detail_is() {
        let answer = |body: &str| Answer { status: 500, fields: Vec::new(), body: body.as_bytes().to_vec() };
        let problem =
            r#"{"type": "https://shop.rs/problems/oops", "instance": "/usr/1", "detail": "at src/main.rs"}"#;
        assert_eq!(told(&answer(problem)), r#"{"detail":"at src/main.rs"}"#);
        assert_eq!(told(&answer("panicked at src/main.rs")), "panicked at src/main.rs");
    }

    #[test]
    fn the_oversized_body_is_json_of_exactly_that_length() {
        let body = oversized(1000);
        assert_eq!(body.len(), 1000);
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }

    #[test]
    fn one_field_gets_another_type_and_the_others_stay() {
        let good = serde_json::from_str(r#"{"quantity": 2, "sku": "a"}"#).expect("is JSON");
        let (field, body) = with_one_field_wrong(&good).expect("has a field");
        assert_eq!(field, "quantity");
        let body: serde_json::Value = serde_json::from_str(&body).expect("is JSON");
        assert!(body["quantity"].is_object());
        assert_eq!(body["sku"], "a");
    }
}
