//! The headers that carry what belongs to a request to the next service.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts, uri::Authority};
use mainstay_core::context::{
    ATTEMPT, BAGGAGE, CRITICALITY, Deadline, GRPC_TIMEOUT, REQUEST_ID, REQUEST_TIMEOUT, RequestContext,
    SpanId, TRACEPARENT, TRACESTATE, format_timeout, parse_timeout,
};

/// What holds for a call with these headers: the deadline of the request that is being handled, the timeout that the
/// call was given in a header, or `default` where nobody said anything.
pub(crate) fn deadline(
    context: Option<&RequestContext>,
    headers: &HeaderMap,
    default: std::time::Duration,
) -> Deadline {
    let name = if is_grpc(headers) { &GRPC_TIMEOUT } else { &REQUEST_TIMEOUT };
    let own = headers.get(name).and_then(|value| parse_timeout(value.as_bytes()).ok()).map(Deadline::after);
    match (context.and_then(RequestContext::deadline), own) {
        (Some(arrived), Some(own)) => arrived.earliest(own),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Deadline::by_default(default),
    }
}

/// Writes the context into the headers of a call. What the caller of the client set itself stays only where no request
/// is being handled: inside of one, its context is the truth, whatever a proxy has copied.
pub(crate) fn propagate(context: Option<&RequestContext>, headers: &mut HeaderMap) {
    let fresh;
    let (context, inside) = match context {
        Some(context) => (context, true),
        None => {
            fresh = RequestContext::new();
            (&fresh, false)
        }
    };
    if inside || !headers.contains_key(TRACEPARENT) {
        // Each call has an id of its own (W3C Trace Context section 3.2.2.4). Where the request is recorded, what is recorded
        // of the call says which; where nothing is, the request itself is what the callee is below.
        let trace = context.trace();
        let span = if context.span().is_recording() { trace.span_id() } else { SpanId::random() };
        context.propagation().write(trace, span, headers);
    }
    if inside {
        // What arrived malformed is not in the context: a proxy that copied it does not pass it on.
        replace(headers, TRACESTATE, context.tracestate());
        replace(headers, BAGGAGE, context.baggage());
    }
    if inside || !headers.contains_key(REQUEST_ID) {
        headers.insert(REQUEST_ID, context.request_id().to_header_value());
    }
    if inside || !headers.contains_key(CRITICALITY) {
        headers.insert(CRITICALITY, HeaderValue::from_static(context.criticality().as_str()));
    }
}

fn replace(headers: &mut HeaderMap, name: HeaderName, value: Option<&HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value.clone()),
        None => headers.remove(name),
    };
}

/// What changes from attempt to attempt: its number, and what is left of the deadline. A default is not sent: it bounds
/// this side's wait for the head, while one that is sent would end the stream that follows it.
pub(crate) fn stamp(headers: &mut HeaderMap, attempt: u32, deadline: Deadline) {
    headers.insert(ATTEMPT, HeaderValue::from(attempt));
    let (name, other) =
        if is_grpc(headers) { (GRPC_TIMEOUT, REQUEST_TIMEOUT) } else { (REQUEST_TIMEOUT, GRPC_TIMEOUT) };
    headers.remove(other);
    if deadline.is_explicit() {
        headers.insert(name, format_timeout(deadline.remaining()));
    } else {
        headers.remove(name);
    }
}

/// gRPC itself, which needs HTTP/2 and trailers; gRPC-Web is content to be passed on.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return false };
    match value.as_bytes().strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';' | b' ')),
        None => false,
    }
}

/// The form for HTTP/1.1, and for a call in process: origin-form target (RFC 9112 section 3.2.1) and `Host`.
pub(crate) fn origin_form(parts: &mut Parts, service: &str) {
    parts.version = http::Version::HTTP_11;
    if !parts.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(service)
    {
        parts.headers.insert(header::HOST, host);
    }
    // RFC 9112 section 3.2.4: OPTIONS without a path asks about the server.
    let asterisk = parts.method == Method::OPTIONS && parts.uri.path() == "*";
    let target = match parts.uri.path_and_query() {
        Some(target) if !asterisk && target.as_str().starts_with('/') => Uri::from(target.clone()),
        Some(target) if !asterisk && target.as_str().starts_with('?') => {
            // Displayed with its slash.
            target.to_string().parse().unwrap_or_default()
        }
        Some(_) if asterisk => Uri::from_static("*"),
        _ => Uri::from_static("/"),
    };
    parts.uri = target;
}

/// The form for HTTP/2: `:authority` in the place of `Host` (RFC 9113 section 8.3.1).
pub(crate) fn authority_form(parts: &mut Parts, service: &str) {
    parts.version = http::Version::HTTP_2;
    let host = parts.headers.remove(header::HOST);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let full = |authority: &str| format!("http://{authority}{target}").parse::<Uri>();
    // What is no authority came from outside, and could become a part of the path: the name of the service will do.
    let is_host = |host: &&str| {
        !host.contains('@') && host.parse::<Authority>().is_ok_and(|authority| authority.as_str() == *host)
    };
    let host = host.as_ref().and_then(|host| host.to_str().ok()).filter(is_host);
    if let Ok(uri) = full(host.unwrap_or(service)).or_else(|_| full(service)) {
        parts.uri = uri;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use mainstay_core::context::TraceContext;

    use super::*;

    fn parts(uri: &str) -> Parts {
        Request::builder().uri(uri).body(()).unwrap().into_parts().0
    }

    #[test]
    fn inside_of_a_request_its_context_is_the_truth() {
        let context = RequestContext::new()
            .with_request_id(HeaderValue::from_static("id-1"))
            .with_tracestate(HeaderValue::from_static("a=b"));
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("copied"));
        headers.insert(TRACEPARENT, HeaderValue::from_static("copied"));
        headers.insert(BAGGAGE, HeaderValue::from_static("copied"));
        propagate(Some(&context), &mut headers);
        assert_eq!(headers[REQUEST_ID], "id-1");
        assert_eq!(headers[TRACESTATE], "a=b");
        assert!(!headers.contains_key(BAGGAGE));
        let first = TraceContext::parse(headers[TRACEPARENT].as_bytes()).unwrap();
        assert_eq!(first.trace_id(), context.trace().trace_id());
        propagate(Some(&context), &mut headers);
        let second = TraceContext::parse(headers[TRACEPARENT].as_bytes()).unwrap();
        let request = Some(context.trace().span_id());
        assert!(first.parent() != second.parent() && first.parent() != request && second.parent() != request);
    }

    #[test]
    fn outside_of_a_request_what_the_caller_set_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("mine"));
        propagate(None, &mut headers);
        assert_eq!(headers[REQUEST_ID], "mine");
        assert!(headers.contains_key(TRACEPARENT));
    }

    #[test]
    fn a_host_that_is_no_authority_does_not_reach_the_target() {
        for host in ["a/admin?", "a/b", "a?b", "a#b", "u@a", "a b", ""] {
            let mut parts = parts("http://stock/items?x=1");
            parts.headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            authority_form(&mut parts, "stock");
            assert_eq!(parts.uri, "http://stock/items?x=1", "{host}");
        }
        let mut parts = parts("http://stock/items?x=1");
        parts.headers.insert(header::HOST, HeaderValue::from_static("a.example:81"));
        authority_form(&mut parts, "stock");
        assert_eq!(parts.uri, "http://a.example:81/items?x=1");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_sent_and_a_default_is_not() {
        let mut headers = HeaderMap::new();
        let arrived = RequestContext::new().with_deadline(Deadline::after(Duration::from_secs(10)));
        let explicit = deadline(Some(&arrived), &headers, Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(4)).await;
        stamp(&mut headers, 0, explicit);
        assert_eq!(parse_timeout(headers[REQUEST_TIMEOUT].as_bytes()), Ok(Duration::from_secs(6)));

        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        stamp(&mut headers, 1, explicit);
        assert_eq!(parse_timeout(headers[GRPC_TIMEOUT].as_bytes()), Ok(Duration::from_secs(6)));
        assert!(!headers.contains_key(REQUEST_TIMEOUT));
        assert_eq!(headers[ATTEMPT], "1");

        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("2S"));
        let shorter = deadline(Some(&arrived), &headers, Duration::from_secs(1));
        assert_eq!(shorter.remaining(), Duration::from_secs(2));

        stamp(&mut headers, 2, Deadline::by_default(Duration::from_secs(1)));
        assert!(!headers.contains_key(GRPC_TIMEOUT));
    }

    #[test]
    fn targets_have_the_form_of_their_version() {
        for (uri, target) in
            [("http://a/x?y=1", "/x?y=1"), ("http://a", "/"), ("http://a?y=1", "/?y=1"), ("/x", "/x")]
        {
            let mut one = parts(uri);
            origin_form(&mut one, "stock");
            assert_eq!(one.uri.to_string(), target);
            assert_eq!(one.headers[header::HOST], "stock");
            let mut two = parts(uri);
            authority_form(&mut two, "stock");
            assert_eq!(two.uri.path_and_query().unwrap().to_string(), target);
            assert_eq!(two.uri.authority().unwrap(), "stock");
        }
        let mut kept = parts("http://stock/");
        kept.headers.insert(header::HOST, HeaderValue::from_static("shop.example:8080"));
        authority_form(&mut kept, "stock");
        assert_eq!(kept.uri, "http://shop.example:8080/");
        assert!(!kept.headers.contains_key(header::HOST));
    }

    #[test]
    fn grpc_is_told_from_grpc_web() {
        let is = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            is_grpc(&headers)
        };
        assert!(is("application/grpc") && is("application/grpc+proto") && is("application/grpc; x"));
        assert!(!is("application/grpc-web") && !is("application/json") && !is("application/grpcx"));
    }
}
