//! Answers that the gateway makes itself: problem+json, or a gRPC status; with `Proxy-Status` (RFC 9209).

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use mainstay_core::{Body, Error, error::Kind};

/// `Proxy-Status`, RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The error types of RFC 9209 section 2.3 that the gateway uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// No endpoint takes the request now.
    DestinationUnavailable,
    /// The head of the answer did not come in time.
    HttpResponseTimeout,
    /// The connection ended, or what came over it was no answer.
    ConnectionTerminated,
    /// The gateway refuses the request.
    HttpRequestDenied,
    /// The request is wrong.
    HttpRequestError,
    /// The request came through this gateway too often.
    ProxyLoopDetected,
}

impl ProxyError {
    fn as_str(self) -> &'static str {
        match self {
            Self::DestinationUnavailable => "destination_unavailable",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::ConnectionTerminated => "connection_terminated",
            Self::HttpRequestDenied => "http_request_denied",
            Self::HttpRequestError => "http_request_error",
            Self::ProxyLoopDetected => "proxy_loop_detected",
        }
    }
}

/// An answer in the form that the caller understands.
pub(crate) fn refuse(error: Error, why: ProxyError, name: &str, is_grpc: bool) -> Response<Body> {
    let mut response =
        if is_grpc { trailers_only(error) } else { axum::response::IntoResponse::into_response(error) };
    if let Ok(value) = HeaderValue::from_str(&format!("{name}; error={}", why.as_str())) {
        response.headers_mut().insert(PROXY_STATUS, value);
    }
    response
}

/// What went wrong upstream, as the caller of the gateway sees it: 502, 503 or 504. What a service answered with is
/// passed on; this is for when it did not answer.
pub(crate) fn upstream(error: Error, service: &str) -> (Error, ProxyError) {
    let (kind, why, what) = match error.kind() {
        Kind::DeadlineExceeded => {
            (Kind::DeadlineExceeded, ProxyError::HttpResponseTimeout, "did not answer in time")
        }
        Kind::Unavailable | Kind::ResourceExhausted => {
            (Kind::Unavailable, ProxyError::DestinationUnavailable, "is not available")
        }
        _ => (Kind::BadGateway, ProxyError::ConnectionTerminated, "gave no valid answer"),
    };
    let mut outer = Error::new(kind).with_detail(format!("the service `{service}` {what}"));
    if let Some(delay) = error.retry_after() {
        outer = outer.with_retry_after(delay);
    }
    (outer.with_source(error.into_boxed()), why)
}

/// Whether the request speaks gRPC: `application/grpc`, with or without a `+` suffix, but not gRPC-Web.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let after = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    matches!(after.map(<[u8]>::first), Some(None | Some(b'+' | b';' | b' ')))
}

/// An answer without content to `OPTIONS`.
pub(crate) fn options(allowed: &[Method]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    allow(response.headers_mut(), allowed);
    response
}

/// Sets `Allow`; no methods at all are all that the gateway forwards.
pub(crate) fn allow(headers: &mut HeaderMap, methods: &[Method]) {
    let list = match methods {
        [] => "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT".to_owned(),
        methods => methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", "),
    };
    if let Ok(list) = HeaderValue::try_from(list) {
        headers.insert(header::ALLOW, list);
    }
}

/// The "Trailers-Only" answer of the gRPC over HTTP/2 specification.
fn trailers_only(error: Error) -> Response<Body> {
    let kind = error.kind();
    let message = error.detail().filter(|_| kind.shows_detail()).unwrap_or(kind.title()).to_owned();
    // Made for its log line; what it says over HTTP is of no use here.
    let _ = axum::response::IntoResponse::into_response(error);
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(kind.grpc_code()));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// `grpc-message`: everything but printable ASCII, and `%`, as `%XX`.
fn percent_encoded(message: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_grpc_web() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn a_grpc_caller_gets_a_status() {
        let error = Error::new(Kind::Unavailable).with_detail("100 % wrong: ü");
        let response = refuse(error, ProxyError::DestinationUnavailable, "edge", true);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "100 %25 wrong: %C3%BC");
        assert_eq!(response.headers()["proxy-status"], "edge; error=destination_unavailable");
    }
}
