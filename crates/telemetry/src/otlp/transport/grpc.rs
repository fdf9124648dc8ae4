//! OTLP over gRPC: one unary call, which is little enough to be written down here (gRPC over HTTP/2).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{Failure, Taken, Then, answer, said};
use crate::protobuf::{Field, Reader};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

const OK: u32 = 0;
const RESOURCE_EXHAUSTED: u32 = 8;
/// CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS (OTLP specification, "Failures").
const PASSING: [u32; 6] = [1, 4, 10, 11, 14, 15];

pub(super) fn head(headers: &mut HeaderMap, timeout: Duration, is_compressed: bool) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if is_compressed {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    // At most 8 digits.
    let milliseconds = timeout.as_millis().min(99_999_999);
    if let Ok(timeout) = HeaderValue::try_from(format!("{milliseconds}m")) {
        headers.insert("grpc-timeout", timeout);
    }
}

/// A message with what stands before it.
pub(super) fn framed(message: &[u8], is_compressed: bool) -> Vec<u8> {
    let mut framed = Vec::with_capacity(message.len() + 5);
    framed.push(u8::from(is_compressed));
    // A batch ends long before 4 GiB.
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// Where nothing was sent but a status, it is in the head.
pub(super) fn read(answer: &Response<Bytes>, trailers: Option<&HeaderMap>) -> Result<Taken, Failure> {
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if status != StatusCode::OK || !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        // gRPC, "HTTP to gRPC Status Code Mapping": a proxy in between.
        let then = match status.as_u16() {
            429 | 502 | 503 | 504 => Then::Repeat(None),
            _ => Then::GiveUp,
        };
        return Err(Failure { what: format!("the answer ({status}) is not one of gRPC"), then });
    }
    let fields = trailers.unwrap_or_else(|| answer.headers());
    let text = |name: &HeaderName| fields.get(name).and_then(|value| value.to_str().ok());
    let Some(code) = text(&STATUS).and_then(|code| code.parse::<u32>().ok()) else {
        return Err(Failure::passing("the answer ends without a status"));
    };
    if code == OK {
        return message(answer.body())
            .ok_or_else(|| Failure::lasting("the answer is not one of a receiver of OTLP"));
    }
    let wait = text(&DETAILS).and_then(retry_delay);
    let then = match code {
        // Only if the receiver says that it gets better.
        RESOURCE_EXHAUSTED if wait.is_some() => Then::Repeat(wait),
        code if PASSING.contains(&code) => Then::Repeat(wait),
        _ => Then::GiveUp,
    };
    let message = said(text(&MESSAGE).unwrap_or_default());
    Err(Failure { what: format!("the receiver answers with the gRPC status {code}: {message}"), then })
}

fn message(body: &[u8]) -> Option<Taken> {
    let (length, message) = body.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = *length;
    let is_whole = usize::try_from(u32::from_be_bytes(length)).ok()? == message.len();
    // Nobody said that it may be compressed.
    if compressed != 0 || !is_whole { None } else { answer::read(message).ok() }
}

/// `google.rpc.RetryInfo` among the details of a `google.rpc.Status`.
fn retry_delay(details: &str) -> Option<Duration> {
    let details = general_purpose::STANDARD_NO_PAD.decode(details.trim_end_matches('=')).ok()?;
    let mut status = Reader::new(&details);
    while let Some(field) = status.next().ok()? {
        let (3, Field::Bytes(any)) = field else { continue };
        let (mut any, mut is_retry, mut value) = (Reader::new(any), false, &[][..]);
        while let Some(field) = any.next().ok()? {
            match field {
                (1, Field::Bytes(url)) => is_retry = url.ends_with(b"/google.rpc.RetryInfo"),
                (2, Field::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        if is_retry {
            let (1, Field::Bytes(delay)) = Reader::new(value).next().ok()?? else { return None };
            return duration(delay);
        }
    }
    None
}

/// `google.protobuf.Duration`.
fn duration(message: &[u8]) -> Option<Duration> {
    let (mut reader, mut seconds, mut nanos) = (Reader::new(message), 0, 0);
    while let Some(field) = reader.next().ok()? {
        match field {
            (1, Field::Varint(value)) => seconds = value,
            (2, Field::Varint(value)) => nanos = value,
            _ => {}
        }
    }
    // Negative ones are huge.
    let seconds = i64::try_from(seconds).ok()?.cast_unsigned();
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos.min(999_999_999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &[u8]) -> Response<Bytes> {
        let answer = Response::builder().header(header::CONTENT_TYPE, "application/grpc");
        answer.body(Bytes::copy_from_slice(body)).unwrap()
    }

    fn trailers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn failed(fields: &[(&'static str, &str)]) -> Then {
        read(&answer(b""), Some(&trailers(fields))).unwrap_err().then
    }

    /// `Status { details: [Any { RetryInfo { retry_delay: 2.5 s } }] }`.
    fn details() -> String {
        let mut to = crate::protobuf::Writer::default();
        to.uint(1, 14);
        to.message(3, |any| {
            any.bytes(1, b"type.googleapis.com/google.rpc.RetryInfo");
            any.message(2, |info| {
                info.message(1, |delay| {
                    delay.uint(1, 2);
                    delay.uint(2, 500_000_000);
                });
            });
        });
        general_purpose::STANDARD.encode(to.into_bytes())
    }

    #[test]
    fn only_what_may_pass_is_sent_again() {
        for code in 1..=16_u32 {
            let expected = if PASSING.contains(&code) { Then::Repeat(None) } else { Then::GiveUp };
            assert_eq!(failed(&[("grpc-status", &code.to_string())]), expected, "{code}");
        }
        let wait = Then::Repeat(Some(Duration::from_millis(2500)));
        for code in ["8", "14"] {
            assert_eq!(failed(&[("grpc-status", code), ("grpc-status-details-bin", &details())]), wait);
        }
        assert_eq!(failed(&[("grpc-status", "8"), ("grpc-status-details-bin", "!!!")]), Then::GiveUp);
        assert_eq!(failed(&[]), Then::Repeat(None));
    }

    #[test]
    fn what_was_taken_is_read() {
        let ok = trailers(&[("grpc-status", "0")]);
        let taken = read(&answer(&framed(&[0x0a, 2, 0x08, 3], false)), Some(&ok)).unwrap();
        assert_eq!(taken.rejected, 3);
        assert!(read(&answer(&framed(b"", false)), Some(&ok)).is_ok());
        for garbage in [&b""[..], b"1234", b"\0\0\0\0\x09a", b"\x01\0\0\0\0", b"\0\0\0\0\x01\xff"] {
            assert_eq!(read(&answer(garbage), Some(&ok)).unwrap_err().then, Then::GiveUp, "{garbage:?}");
        }
        // Some answer with no message's bytes and the status in the head; that is an error of theirs.
        let web = Response::builder().header(header::CONTENT_TYPE, "text/html").body(Bytes::new()).unwrap();
        assert_eq!(read(&web, None).unwrap_err().then, Then::GiveUp);
    }
}
