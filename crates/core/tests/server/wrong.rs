//! Requests that are wrong, clause by clause.

use axum::{Router, routing::any};
use http::{HeaderMap, Uri};

use crate::support::{Running, config, start};

fn router() -> Router {
    let show = |uri: Uri, headers: HeaderMap| async move {
        let host = headers.get("host").map_or("-", |host| host.to_str().unwrap());
        format!("{} {host}", uri.path())
    };
    Router::new().fallback(any(show))
}

async fn status_of(server: &Running, request: &str) -> (u16, String) {
    let mut peer = server.connect().await;
    peer.send(request).await;
    let answer = peer.answer().await;
    if answer.status != 200 {
        answer.assert_problem(answer.status);
        peer.assert_closed().await;
    }
    (answer.status, answer.text())
}

#[tokio::test]
async fn malformed_requests_are_refused_with_a_problem() {
    let long = "x".repeat(9000);
    let many = "a: b\r\n".repeat(101);
    let large = format!("a: {}\r\n", "x".repeat(40_000));
    let cases: Vec<(&str, u16, String)> = vec![
        ("RFC 9112 section 3.2: Host is missing", 400, "GET / HTTP/1.1\r\n\r\n".into()),
        ("RFC 9112 section 3.2: Host twice", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into()),
        ("RFC 9112 section 3.2: Host is malformed", 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into()),
        ("RFC 9110 section 4.2.1: the host is empty", 400, "GET / HTTP/1.1\r\nHost:\r\n\r\n".into()),
        ("RFC 9110 section 4.2.4: userinfo in Host", 400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".into()),
        ("RFC 3986 section 3.2.3: the port is no number", 400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n".into()),
        ("the port is out of range", 400, "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n".into()),
        ("a path in Host", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into()),
        ("a list in Host", 400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".into()),
        ("an open bracket in Host", 400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n".into()),
        ("no IPv6 address in brackets", 400, "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n".into()),
        (
            "RFC 9112 section 3.2: Host of an absolute target is malformed",
            400,
            "GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n".into(),
        ),
        (
            "RFC 9112 section 3.2: Host of an absolute target is missing",
            400,
            "GET http://a/ HTTP/1.1\r\n\r\n".into(),
        ),
        (
            "RFC 9110 section 4.2.4: userinfo in the target",
            400,
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        ),
        ("RFC 9110 section 4.2: another scheme", 400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (
            "RFC 9112 section 3.2.3: authority form without CONNECT",
            400,
            "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        ),
        ("RFC 9112 section 3.2.3: CONNECT to a path", 400, "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (
            "RFC 9112 section 3.2.3: CONNECT without a port",
            400,
            "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        ),
        ("RFC 9112 section 3.2.4: asterisk without OPTIONS", 400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("RFC 9112 section 3.2: no form of target", 400, "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("RFC 9112 section 3: two spaces", 400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("RFC 9112 section 2.3: another version", 400, "GET / HTTP/3.7\r\nHost: a\r\n\r\n".into()),
        ("RFC 9110 section 9.1: a method that is no token", 400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (
            "RFC 9112 section 5.1: space before the colon",
            400,
            "GET / HTTP/1.1\r\nHost: a\r\nb : c\r\n\r\n".into(),
        ),
        (
            "RFC 9112 section 5.2: a folded line",
            400,
            "GET / HTTP/1.1\r\nHost: a\r\nb: c\r\n d\r\n\r\n".into(),
        ),
        (
            "RFC 9110 section 5.1: a name that is no token",
            400,
            "GET / HTTP/1.1\r\nHost: a\r\n\"b: c\r\n\r\n".into(),
        ),
        ("RFC 9110 section 5.5: NUL in a value", 400, "GET / HTTP/1.1\r\nHost: a\r\nb: \0\r\n\r\n".into()),
        ("RFC 9112 section 2.2: a bare CR", 400, "GET / HTTP/1.1\r\nHost: a\r\nb: c\rd\r\n\r\n".into()),
        (
            "RFC 9112 section 6.3: two lengths",
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".into(),
        ),
        (
            "RFC 9110 section 8.6: a length that is no number",
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n".into(),
        ),
        (
            "RFC 9112 section 6.3: chunked is not the last coding",
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n".into(),
        ),
        (
            "RFC 9112 section 6.1: Transfer-Encoding over HTTP/1.0",
            400,
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        ),
        ("TLS on a plain port", 400, "\u{16}\u{3}\u{1}\u{0}\r\n\r\n".into()),
        (
            "RFC 9110 section 15.5.15: the target is too long",
            414,
            format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        ("RFC 6585 section 5: too many fields", 431, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
        ("RFC 6585 section 5: too large a section", 431, format!("GET / HTTP/1.1\r\nHost: a\r\n{large}\r\n")),
    ];
    let server = start(&config(), router());
    let count = cases.len() as u64;
    for (clause, status, request) in cases {
        assert_eq!(status_of(&server, &request).await.0, status, "{clause}: {request:.80?}");
    }
    let summary = server.stop().await;
    assert_eq!(summary.counted.malformed, count, "each is counted once");
}

#[tokio::test]
async fn unusual_requests_that_are_right_are_served() {
    let cases = [
        ("HTTP/1.0 needs no Host", "GET /a HTTP/1.0\r\n\r\n", "/a -"),
        ("a port, or an empty one", "GET /a HTTP/1.1\r\nHost: a:\r\n\r\n", "/a a:"),
        ("an IPv6 address", "GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "/a [::1]:80"),
        ("asterisk form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "* a"),
        (
            "RFC 9112 section 3.2.2: the target's authority counts, not Host",
            "GET http://b:80/a HTTP/1.1\r\nHost: c\r\n\r\n",
            "/a b:80",
        ),
        ("RFC 9112 section 2.2: an empty line before", "\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", "/a a"),
        ("RFC 9112 section 2.2: bare LF ends a line", "GET /a HTTP/1.1\nHost: a\n\n", "/a a"),
        ("an unknown method", "BREW /a HTTP/1.1\r\nHost: a\r\n\r\n", "/a a"),
        ("no spaces around a value", "GET /a HTTP/1.1\r\nHost:a\r\n\r\n", "/a a"),
    ];
    let server = start(&config(), router());
    for (clause, request, expected) in cases {
        assert_eq!(status_of(&server, request).await, (200, expected.to_owned()), "{clause}");
    }
    server.stop().await;
}

#[tokio::test]
async fn with_two_framings_the_chunks_count_and_the_connection_ends() {
    // RFC 9112 section 6.3: what follows may be a smuggled request, and is never read as one.
    let server = start(&config(), Router::new().fallback(any(|body: String| async { body })));
    let mut peer = server.connect().await;
    peer.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ab"));
    assert_eq!(answer.field("connection"), Some("close"));
    peer.assert_closed().await;
    server.stop().await;
}

#[tokio::test]
async fn ten_megabytes_of_header_get_a_431_that_arrives() {
    let server = start(&config(), router());
    let mut peer = server.connect().await;
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let line = format!("x: {}\r\n", "y".repeat(10_000));
    for _ in 0..1000 {
        peer.try_send(&line).await;
    }
    peer.answer().await.assert_problem(431);
    server.stop().await;
}
