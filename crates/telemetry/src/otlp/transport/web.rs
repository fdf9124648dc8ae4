//! OTLP over HTTP with protobuf (OTLP specification, "OTLP/HTTP").

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{Failure, Taken, Target, Then, answer};

const PROTOBUF: &str = "application/x-protobuf";

pub(super) fn head(headers: &mut HeaderMap, target: &Target, is_compressed: bool) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // An authority is made of what a field may have.
    if let Ok(host) = HeaderValue::from_str(target.authority()) {
        headers.insert(header::HOST, host);
    }
}

pub(super) fn read(answer: &Response<Bytes>) -> Result<Taken, Failure> {
    let status = answer.status();
    if !status.is_success() {
        let then = match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Then::Repeat(retry_after(answer.headers())),
            _ => Then::GiveUp,
        };
        return Err(Failure { what: format!("the receiver answers {status}"), then });
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    // Some receivers answer in JSON whatever they were asked in; it took the spans all the same.
    if answer.body().is_empty() || kind.is_some_and(|kind| kind.starts_with(b"application/json")) {
        return Ok(Taken::default());
    }
    let is_protobuf = kind.is_none_or(|kind| kind.starts_with(PROTOBUF.as_bytes()));
    let read = if is_protobuf { answer::read(answer.body()).ok() } else { None };
    read.ok_or_else(|| {
        Failure::lasting(format_args!("the answer ({status}) is not one of a receiver of OTLP"))
    })
}

/// In seconds; of a date no receiver is known to speak.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &'static [u8]) -> Result<Taken, Failure> {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        read(&answer.body(Bytes::from_static(body)).unwrap())
    }

    fn then(status: u16, headers: &[(&str, &str)]) -> Then {
        answer(status, headers, b"").unwrap_err().then
    }

    #[test]
    fn only_what_may_pass_is_sent_again() {
        for status in [429, 502, 503, 504] {
            assert_eq!(then(status, &[]), Then::Repeat(None), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500, 501] {
            assert_eq!(then(status, &[]), Then::GiveUp, "{status}");
        }
        assert_eq!(then(503, &[("retry-after", "7")]), Then::Repeat(Some(Duration::from_secs(7))));
        assert_eq!(then(503, &[("retry-after", "soon")]), Then::Repeat(None));
    }

    #[test]
    fn a_partial_success_says_what_was_not_taken() {
        let kind = [("content-type", "application/x-protobuf")];
        let taken = answer(200, &kind, &[0x0a, 6, 0x08, 3, 0x12, 2, b'n', 0x07]).unwrap();
        assert_eq!(taken, Taken { rejected: 3, message: "n ".to_owned() });
        assert_eq!(answer(200, &[], b""), Ok(Taken::default()));
        assert_eq!(answer(200, &[("content-type", "application/json")], b"{}"), Ok(Taken::default()));
        // -1, as protobuf writes it.
        let negative = [0x0a, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let negative: &'static [u8] = Box::leak(Box::new(negative));
        assert_eq!(answer(200, &kind, negative), Ok(Taken::default()));
    }

    #[test]
    fn another_kind_of_server_is_noticed() {
        let html = answer(200, &[("content-type", "text/html")], b"<html>").unwrap_err();
        assert_eq!(html.then, Then::GiveUp);
        assert!(answer(200, &[("content-type", "application/x-protobuf")], b"<html>").is_err());
    }
}
