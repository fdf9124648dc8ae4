//! Answers that the gateway makes itself: problem+json, or a gRPC status; with `Proxy-Status` (RFC 9209).

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use mainstay_core::{
    Body, Error,
    context::RequestContext,
    error::{Kind, Protocol},
};

/// `Proxy-Status`, RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

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
pub(crate) fn refuse(
    error: Error,
    why: ProxyError,
    name: &str,
    protocol: Protocol,
    context: &RequestContext,
) -> Response<Body> {
    let mut response = error.answer(protocol, context).map(Body::new);
    if let Ok(value) = HeaderValue::from_str(&format!("{name}; error={}", why.as_str())) {
        response.headers_mut().insert(PROXY_STATUS, value);
    }
    response
}

/// What went wrong upstream, as the caller of the gateway sees it: 502, 503 or 504, or what is wrong with its own
/// request where that could not be read to its end. What a service answered with is passed on; this is for when it
/// did not answer.
pub(crate) fn upstream(error: Error, service: &str) -> (Error, ProxyError) {
    let (kind, why, what) = match error.kind() {
        Kind::DeadlineExceeded => {
            (Kind::DeadlineExceeded, ProxyError::HttpResponseTimeout, "did not answer in time")
        }
        Kind::Unavailable | Kind::ResourceExhausted => {
            (Kind::Unavailable, ProxyError::DestinationUnavailable, "is not available")
        }
        kind if kind.status().is_client_error() => {
            return (Error::new(kind).with_source(error.into_boxed()), ProxyError::HttpRequestError);
        }
        _ => (Kind::BadGateway, ProxyError::ConnectionTerminated, "gave no valid answer"),
    };
    let mut outer = Error::new(kind).with_detail(format!("the service `{service}` {what}"));
    if let Some(delay) = error.retry_after() {
        outer = outer.with_retry_after(delay);
    }
    (outer.with_source(error.into_boxed()), why)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_upstream_is_told_in_three_ways() {
        for (inside, outside, why) in [
            (Kind::DeadlineExceeded, Kind::DeadlineExceeded, ProxyError::HttpResponseTimeout),
            (Kind::Unavailable, Kind::Unavailable, ProxyError::DestinationUnavailable),
            (Kind::ResourceExhausted, Kind::Unavailable, ProxyError::DestinationUnavailable),
            (Kind::BadGateway, Kind::BadGateway, ProxyError::ConnectionTerminated),
            (Kind::Internal, Kind::BadGateway, ProxyError::ConnectionTerminated),
        ] {
            let delay = std::time::Duration::from_secs(3);
            let (error, told) = upstream(Error::new(inside).with_retry_after(delay), "orders");
            assert_eq!((error.kind(), told), (outside, why), "{inside:?}");
            assert_eq!(error.retry_after(), Some(delay));
        }
    }

    #[test]
    fn what_is_wrong_with_the_request_is_told_as_that() {
        let (error, told) = upstream(Error::new(Kind::ContentTooLarge), "orders");
        assert_eq!((error.kind(), told), (Kind::ContentTooLarge, ProxyError::HttpRequestError));
    }

    #[test]
    fn a_grpc_caller_gets_a_status() {
        let error = Error::new(Kind::Unavailable);
        let why = ProxyError::DestinationUnavailable;
        let response = refuse(error, why, "edge", Protocol::Grpc, &RequestContext::new());
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["proxy-status"], "edge; error=destination_unavailable");
    }
}
