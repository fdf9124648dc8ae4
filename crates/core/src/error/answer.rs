//! An error as the answer that the protocol of the request wants.
//!
//! HTTP gets problem+json (RFC 9457). gRPC gets a `Trailers-Only` response ("Responses" in the gRPC over HTTP/2
//! specification): status 200, no body, `grpc-status` and `grpc-message` among the header fields; with feature `grpc`
//! also `grpc-status-details-bin`. gRPC-Web gets the same with its own content type ("Protocol differences vs gRPC
//! over HTTP2", which keeps trailers-only responses in the header fields).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::{Error, PROBLEM_JSON, Problem};
use crate::context::RequestContext;

/// What a request speaks, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// Plain HTTP.
    #[default]
    Http,
    /// gRPC over HTTP/2: `application/grpc`, `application/grpc+proto`, …
    Grpc,
    /// Binary gRPC-Web: `application/grpc-web`, …
    GrpcWeb,
    /// Base64 gRPC-Web: `application/grpc-web-text`, …
    GrpcWebText,
}

impl Protocol {
    /// The protocol of `request`. gRPC and gRPC-Web are always POST ("Requests" in the gRPC over HTTP/2
    /// specification), so that with other methods no header field is looked up.
    #[must_use]
    pub fn of_request<B>(request: &Request<B>) -> Self {
        if *request.method() == Method::POST { Self::of(request.headers()) } else { Self::Http }
    }

    /// The protocol of a POST with these header fields.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        headers.get(header::CONTENT_TYPE).map_or(Self::Http, |value| Self::of_content_type(value.as_bytes()))
    }

    /// The protocol of the request that is being worked on: the context layer has read it, where there is one.
    pub(crate) fn of_current<B>(request: &Request<B>) -> Self {
        if *request.method() != Method::POST {
            return Self::Http;
        }
        RequestContext::peek(RequestContext::protocol)
            .flatten()
            .unwrap_or_else(|| Self::of(request.headers()))
    }

    /// The protocol of a request with this `content-type`.
    #[must_use]
    pub fn of_content_type(value: &[u8]) -> Self {
        const GRPC: &[u8] = b"application/grpc";
        let Some((start, rest)) = value.split_at_checked(GRPC.len()) else { return Self::Http };
        if !start.eq_ignore_ascii_case(GRPC) {
            return Self::Http;
        }
        // What follows the name is the message format (`+proto`), or a parameter.
        let end = rest.iter().position(|byte| b"+; \t".contains(byte)).unwrap_or(rest.len());
        match rest.get(..end).unwrap_or_default().to_ascii_lowercase().as_slice() {
            b"" => Self::Grpc,
            b"-web" => Self::GrpcWeb,
            b"-web-text" => Self::GrpcWebText,
            _ => Self::Http,
        }
    }

    /// Whether the outcome is a gRPC status.
    #[must_use]
    pub fn is_grpc(self) -> bool {
        self != Self::Http
    }

    fn content_type(self) -> HeaderValue {
        match self {
            Self::Http => PROBLEM_JSON,
            Self::Grpc => HeaderValue::from_static("application/grpc"),
            Self::GrpcWeb => HeaderValue::from_static("application/grpc-web+proto"),
            Self::GrpcWebText => HeaderValue::from_static("application/grpc-web-text+proto"),
        }
    }
}

impl Error {
    /// The answer for the request in `context`, as `protocol` wants it; logs what the caller is not shown.
    #[must_use]
    pub fn answer(self, protocol: Protocol, context: &RequestContext) -> Response<Full<Bytes>> {
        // The log line and the details take their ids from the current context.
        context.clone().sync_scope(|| {
            if protocol.is_grpc() {
                let mut response = Response::new(Full::default());
                response.headers_mut().insert(header::CONTENT_TYPE, protocol.content_type());
                self.write_grpc(response.headers_mut());
                response
            } else {
                self.log();
                problem(&Problem::new(&self, context), &self)
            }
        })
    }

    /// The trailers that end a gRPC stream with this error; logs what the caller is not shown.
    #[must_use]
    pub fn into_trailers(self, context: &RequestContext) -> HeaderMap {
        context.clone().sync_scope(|| {
            let mut trailers = HeaderMap::new();
            self.write_grpc(&mut trailers);
            trailers
        })
    }

    fn write_grpc(self, headers: &mut HeaderMap) {
        if let Some(delay) = self.retry_after() {
            let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            headers.insert(PUSHBACK, HeaderValue::from(millis));
        }
        self.write_grpc_status(headers);
    }

    #[cfg(feature = "grpc")]
    fn write_grpc_status(self, headers: &mut HeaderMap) {
        let status = tonic::Status::from(self);
        if status.add_header(headers).is_err() {
            headers.insert("grpc-status", HeaderValue::from(super::Kind::Internal.grpc_code()));
        }
    }

    #[cfg(not(feature = "grpc"))]
    fn write_grpc_status(self, headers: &mut HeaderMap) {
        self.log();
        let kind = self.kind();
        headers.insert("grpc-status", HeaderValue::from(kind.grpc_code()));
        let shown = self.detail().filter(|_| kind.shows_detail()).unwrap_or(kind.title());
        if let Ok(message) = HeaderValue::from_str(&percent_encode(shown)) {
            headers.insert("grpc-message", message);
        }
    }
}

/// When to come back, for the retries that gRPC clients have built in (gRFC A6); the details of a status are for people's
/// own code.
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A problem document as a response.
pub(super) fn problem(problem: &Problem, error: &Error) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
    if let Some(delay) = error.retry_after() {
        // RFC 9110 section 10.2.3: whole seconds; rounded up so that nobody comes back too early.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// `Percent-Encoded` of the gRPC over HTTP/2 specification: printable ASCII but `%` as it is, the rest in UTF-8 bytes.
#[cfg(any(test, not(feature = "grpc")))]
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                // Writing to a string can't fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn the_content_type_tells_the_protocol() {
        for (value, protocol) in [
            ("application/grpc", Protocol::Grpc),
            ("application/grpc+proto", Protocol::Grpc),
            ("Application/gRPC; charset=x", Protocol::Grpc),
            ("application/grpc-web", Protocol::GrpcWeb),
            ("application/grpc-web+proto", Protocol::GrpcWeb),
            ("application/grpc-web-text", Protocol::GrpcWebText),
            ("application/grpcish", Protocol::Http),
            ("application/json", Protocol::Http),
            ("", Protocol::Http),
        ] {
            assert_eq!(Protocol::of_content_type(value.as_bytes()), protocol, "{value}");
        }
    }

    #[test]
    fn what_is_not_printable_ascii_is_percent_encoded() {
        assert_eq!(percent_encode("50% of ü\n"), "50%25 of %C3%BC%0A");
    }

    #[tokio::test]
    async fn over_http_an_error_is_a_problem_with_the_ids_of_the_request() {
        let context = RequestContext::new();
        let error = Error::new(Kind::Unavailable).with_retry_after(std::time::Duration::from_millis(1500));
        let response = error.answer(Protocol::Http, &context);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["trace_id"], context.trace().trace_id().to_string());
        assert_eq!(problem["status"], 503);
    }

    #[tokio::test]
    async fn over_grpc_an_error_is_a_response_of_trailers_only() {
        let context = RequestContext::new();
        for protocol in [Protocol::Grpc, Protocol::GrpcWeb, Protocol::GrpcWebText] {
            let error = Error::new(Kind::ContentTooLarge).with_detail("over 100% ü");
            let response = error.answer(protocol, &context);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["grpc-status"], "8");
            let message = response.headers()["grpc-message"].to_str().unwrap();
            assert!(message.ends_with("100%25%20%C3%BC") || message.ends_with("100%25 %C3%BC"), "{message}");
            assert_eq!(Protocol::of(response.headers()), protocol);
            assert!(http_body::Body::is_end_stream(response.body()));
            #[cfg(feature = "grpc")]
            {
                use tonic_types::StatusExt as _;
                let status = tonic::Status::from_header_map(response.headers()).unwrap();
                let info = status.get_error_details().error_info().unwrap().clone();
                assert_eq!(info.reason, "CONTENT_TOO_LARGE");
                assert_eq!(info.metadata["trace_id"], context.trace().trace_id().to_string());
            }
        }
    }

    #[test]
    fn over_grpc_retries_are_told_when_to_come_back() {
        let error = Error::new(Kind::Unavailable).with_retry_after(std::time::Duration::from_millis(1500));
        let trailers = error.into_trailers(&RequestContext::new());
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-retry-pushback-ms"]),
            (&"14".parse().unwrap(), &"1500".parse().unwrap())
        );
        let trailers = Error::new(Kind::Unavailable).into_trailers(&RequestContext::new());
        assert!(!trailers.contains_key("grpc-retry-pushback-ms"));
    }

    #[test]
    fn a_fault_does_not_show_its_detail_over_grpc() {
        let error = Error::new(Kind::Internal).with_detail("password is hunter2");
        let response = error.answer(Protocol::Grpc, &RequestContext::new());
        assert_eq!(response.headers()["grpc-status"], "13");
        assert!(!response.headers()["grpc-message"].to_str().unwrap().contains("hunter2"));
    }
}
