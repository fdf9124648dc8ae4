//! The id by which people find a request in the logs.

use std::fmt;

use http::{HeaderName, HeaderValue};

use super::TraceId;

/// The header that carries the id of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: what arrived, or the trace id where nothing well-formed did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestId<'a> {
    /// It arrived with the request.
    Given(&'a HeaderValue),
    /// It was made here.
    Made(TraceId),
}

impl RequestId<'_> {
    /// Whether an id that arrived is taken over: 1 to 128 of the characters `A-Z a-z 0-9 - _ . : + / = @`.
    #[must_use]
    pub fn is_well_formed(id: &[u8]) -> bool {
        (1..=128).contains(&id.len()) && id.iter().all(|byte| SAFE[usize::from(*byte)])
    }

    /// As the value of `x-request-id`.
    #[must_use]
    pub fn to_header_value(self) -> HeaderValue {
        match self {
            Self::Given(id) => id.clone(),
            Self::Made(trace_id) => {
                let hex = trace_id.to_hex();
                HeaderValue::from_bytes(&hex).unwrap_or_else(|_| HeaderValue::from_static(""))
            }
        }
    }
}

/// The bytes of an id that is taken over.
static SAFE: [bool; 256] = {
    let mut safe = [false; 256];
    let mut byte = 0;
    while byte < safe.len() {
        safe[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'_' | b'.' | b':' | b'+' | b'/' | b'=' | b'@');
        byte += 1;
    }
    safe
};

impl fmt::Display for RequestId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(id) => f.write_str(id.to_str().unwrap_or("")),
            Self::Made(trace_id) => trace_id.fmt(f),
        }
    }
}
