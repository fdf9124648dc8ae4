//! HTTP/2 peers that flood, and HTTP/2 requests that are wrong.

use axum::{Router, routing::any};
use http::{HeaderMap, Uri};
use mainstay_core::server::Config;

use crate::support::{Peer, Running, config, field, frame, get, headers, headers_of, start};

fn router() -> Router {
    let show = |uri: Uri, headers: HeaderMap| async move {
        let cookies: Vec<_> = headers.get_all("cookie").iter().map(|value| value.to_str().unwrap()).collect();
        format!("{uri} {}", cookies.join(" | "))
    };
    Router::new().fallback(any(show)).route("/never", any(std::future::pending::<String>))
}

fn few_streams() -> Config {
    let mut config = config();
    config.bounds.max_streams = 100;
    config
}

/// That another client is served as ever.
async fn assert_unharmed(server: &Running) {
    let mut other = server.connect().await;
    other.send(get("/")).await;
    assert_eq!(other.answer().await.status, 200);
}

/// The error code of the GOAWAY that ends the connection; none where it ended without.
async fn ended_with(peer: &mut Peer) -> Option<u32> {
    let rest = peer.rest().await;
    let mut bytes = rest.as_slice();
    let mut code = None;
    while let Some((head, after)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, after)) = after.split_at_checked(length) else { break };
        if head[3] == 7 {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        bytes = after;
    }
    code
}

#[tokio::test]
async fn ten_thousand_resets_cost_the_connection_and_nothing_else() {
    let server = start(&few_streams(), router());
    let mut peer = server.connect().await;
    peer.hello().await;
    for stream in (1..20_000).step_by(2) {
        let reset = frame(3, 0, stream, &8u32.to_be_bytes());
        peer.try_send([headers(stream, true, "GET", "/never"), reset].concat()).await;
    }
    // ENHANCE_YOUR_CALM, unless the reset of the socket destroyed it.
    let code = ended_with(&mut peer).await;
    assert!(matches!(code, None | Some(11)), "{code:?}");
    assert_unharmed(&server).await;
    let summary = server.stop().await;
    assert_eq!((summary.counted.open, summary.counted.panicked, summary.left), (0, 0, 0));
}

#[tokio::test]
async fn a_flood_of_continuations_costs_the_connection_and_nothing_else() {
    let server = start(&config(), router());
    let mut peer = server.connect().await;
    peer.hello().await;
    peer.try_send(frame(1, 1, 1, &field(":method", "GET"))).await;
    let crumb = field("x", &"y".repeat(120)).repeat(100);
    for _ in 0..10_000 {
        peer.try_send(frame(9, 0, 1, &crumb)).await;
    }
    peer.rest().await;
    assert_unharmed(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn floods_of_pings_and_settings_end_with_the_connection() {
    let server = start(&config(), router());
    for flood in [frame(6, 0, 0, &[0; 8]), frame(4, 0, 0, &[])] {
        let mut peer = server.connect().await;
        peer.hello().await;
        let flood = flood.repeat(1000);
        for _ in 0..50 {
            peer.try_send(&flood).await;
        }
        assert_unharmed(&server).await;
    }
    server.stop().await;
}

/// What became of one request.
#[derive(Debug, PartialEq)]
enum Outcome {
    Status(&'static str),
    Reset,
    GoAway,
}

async fn outcome(server: &Running, frames: &[u8]) -> Outcome {
    let mut peer = server.connect().await;
    peer.hello().await;
    peer.send(frames).await;
    loop {
        match peer.frame().await {
            // The status is the first field of the section, in the static table (RFC 7541 appendix A).
            (1, _, _, payload) => {
                let status = match payload.first() {
                    Some(0x88) => "200",
                    Some(0x8c) => "400",
                    _ => "another",
                };
                return Outcome::Status(status);
            }
            (3, ..) => return Outcome::Reset,
            (7, ..) => return Outcome::GoAway,
            _ => {}
        }
    }
}

#[tokio::test]
async fn malformed_http2_requests_are_refused() {
    let server = start(&config(), router());
    let with = |extra: &[(&'static str, &'static str)]| {
        let mut fields =
            vec![(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")];
        fields.extend(extra);
        headers_of(1, true, &fields)
    };
    let of = |fields: &[(&str, &str)]| headers_of(1, true, fields);
    let refused = Outcome::Status("400");
    let cases = [
        ("right", with(&[]), Outcome::Status("200")),
        ("RFC 9113 section 8.2.2: te: trailers", with(&[("te", "trailers")]), Outcome::Status("200")),
        ("RFC 9113 section 8.2.2: te", with(&[("te", "gzip")]), Outcome::Reset),
        ("RFC 9113 section 8.2.2: connection", with(&[("connection", "close")]), Outcome::Reset),
        (
            "RFC 9113 section 8.2.2: transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
            Outcome::Reset,
        ),
        ("RFC 9113 section 8.2.2: upgrade", with(&[("upgrade", "websocket")]), Outcome::Reset),
        ("RFC 9113 section 8.2.2: keep-alive", with(&[("keep-alive", "1")]), Outcome::Reset),
        ("RFC 9113 section 8.2.2: proxy-connection", with(&[("proxy-connection", "close")]), Outcome::Reset),
        ("RFC 9113 section 8.2.1: upper case", with(&[("A", "b")]), Outcome::GoAway),
        ("RFC 9113 section 8.3: a late pseudo-field", with(&[("a", "b"), (":path", "/")]), Outcome::Reset),
        ("RFC 9113 section 8.3: a pseudo-field of answers", with(&[(":status", "200")]), Outcome::Reset),
        ("RFC 9113 section 8.3.1: Host names another", with(&[("host", "other")]), Outcome::Status("400")),
        ("RFC 9113 section 8.3.1: Host names the same", with(&[("host", "TEST:80")]), Outcome::Status("200")),
        (
            "RFC 9110 section 7.2: Host twice",
            with(&[("host", "test"), ("host", "test")]),
            Outcome::Status("400"),
        ),
        (
            "RFC 9113 section 8.3.1: userinfo",
            of(&[(":method", "GET"), (":scheme", "http"), (":authority", "u@test"), (":path", "/")]),
            Outcome::Status("400"),
        ),
        (
            "RFC 9113 section 8.3.1: a bad port",
            of(&[(":method", "GET"), (":scheme", "http"), (":authority", "test:65536"), (":path", "/")]),
            Outcome::Status("400"),
        ),
        (
            "neither :authority nor Host",
            of(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]),
            refused,
        ),
        (
            "Host instead of :authority",
            of(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "test")]),
            Outcome::Status("200"),
        ),
        (
            "another scheme",
            of(&[(":method", "GET"), (":scheme", "ftp"), (":authority", "test"), (":path", "/")]),
            Outcome::Status("400"),
        ),
        (
            "RFC 9113 section 8.3.1: asterisk without OPTIONS",
            of(&[(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "*")]),
            Outcome::Status("400"),
        ),
        (
            "RFC 9113 section 8.3.1: no :path",
            of(&[(":method", "GET"), (":scheme", "http"), (":authority", "test")]),
            Outcome::Reset,
        ),
        ("no :method", of(&[(":scheme", "http"), (":authority", "test"), (":path", "/")]), Outcome::Reset),
        ("RFC 9113 section 5.1.1: an even stream", headers(2, true, "GET", "/"), Outcome::GoAway),
    ];
    for (clause, frames, expected) in cases {
        assert_eq!(outcome(&server, &frames).await, expected, "{clause}");
    }
    server.stop().await;
}

#[tokio::test]
async fn crumbs_of_cookies_arrive_as_one_field() {
    let server = start(&config(), router());
    let mut peer = server.connect().await;
    peer.hello().await;
    let request = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/"),
        ("cookie", "a=1"),
        ("x", "y"),
        ("cookie", "b=2"),
        ("cookie", "c=3"),
    ];
    peer.send(headers_of(1, true, &request)).await;
    let (_, _, _, body) = peer.frame_of_type(0).await;
    assert_eq!(String::from_utf8(body).unwrap(), "http://test/ a=1; b=2; c=3");
    server.stop().await;
}
