//! Trace id and parent span: `traceparent` of W3C Trace Context.

use std::fmt;

use http::{HeaderName, HeaderValue};

/// `traceparent`, W3C Trace Context section 3.2.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`, W3C Trace Context section 3.3.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// `baggage`, W3C Baggage.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The id of a trace: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The id of a span: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// A random id.
    #[must_use]
    pub fn random() -> Self {
        // Zero, which is no id, is as likely as any other.
        Self(fastrand::u128(..).max(1).to_be_bytes())
    }

    /// From its bytes; `None` if they are all zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> [u8; 32] {
        let mut hex = [0; 32];
        write_hex(&self.0, &mut hex);
        hex
    }
}

impl SpanId {
    /// A random id.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u64(1..).to_be_bytes())
    }

    /// From its bytes; `None` if they are all zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

/// The trace that a request belongs to, and the span that caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    parent: Option<SpanId>,
    span_id: SpanId,
    flags: u8,
}

/// The flags of `traceparent`: level 1 has the first one, level 2 the second.
const SAMPLED: u8 = 0x01;
const RANDOM: u8 = 0x02;

impl TraceContext {
    /// A new trace, not sampled; its id is random and says so (the random flag of level 2).
    #[must_use]
    pub fn root() -> Self {
        Self { trace_id: TraceId::random(), parent: None, span_id: SpanId::random(), flags: RANDOM }
    }

    /// The trace's id.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The caller's span.
    #[must_use]
    pub fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// The span of this process, whether it is recorded or not: what logs name, and the parent of the next service's.
    #[must_use]
    pub fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The same trace, in a span of this process within this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { parent: Some(self.span_id), span_id: SpanId::random(), ..*self }
    }

    /// Whether the trace is recorded: the caller said so, or it was decided here.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Whether the id is known to be random in its last 7 bytes (level 2).
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.flags & RANDOM != 0
    }

    /// Recorded or not.
    #[must_use]
    pub fn sampled(mut self, sampled: bool) -> Self {
        self.flags = self.flags & !SAMPLED | u8::from(sampled);
        self
    }

    /// Reads a `traceparent`, of version 00 or a higher one (section 3.2.4: the known fields of it).
    ///
    /// # Errors
    /// [`InvalidTraceparent`]: the caller starts a new trace.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidTraceparent> {
        let shape = value.len() >= 55 && value[2] == b'-' && value[35] == b'-' && value[52] == b'-';
        if !shape {
            return Err(InvalidTraceparent);
        }
        let [version] = read_hex::<1>(&value[..2])?;
        if version == 0xff || (version == 0 && value.len() != 55) || (value.len() > 55 && value[55] != b'-') {
            return Err(InvalidTraceparent);
        }
        let trace_id = TraceId::from_bytes(read_hex(&value[3..35])?).ok_or(InvalidTraceparent)?;
        let parent = SpanId::from_bytes(read_hex(&value[36..52])?).ok_or(InvalidTraceparent)?;
        let [flags] = read_hex::<1>(&value[53..55])?;
        // What is not known of the flags is not passed on (section 3.2.2.5).
        Ok(Self {
            trace_id,
            parent: Some(parent),
            span_id: SpanId::random(),
            flags: flags & (SAMPLED | RANDOM),
        })
    }

    /// The `traceparent` for a call made from span `span`, version 00.
    #[must_use]
    pub fn to_traceparent(&self, span: SpanId) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id.0, &mut text[3..35]);
        write_hex(&span.0, &mut text[36..52]);
        write_hex(&[self.flags], &mut text[53..55]);
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::root()
    }
}

/// A `traceparent` that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed traceparent")]
#[non_exhaustive]
pub struct InvalidTraceparent;

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two digits of each byte.
const PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0x0f]];
        byte += 1;
    }
    pairs
};

/// Writes `bytes` as lower-case digits; `text` is twice as long.
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
}

/// Reads lower-case digits; upper-case ones are malformed (section 3.2.2).
fn read_hex<const N: usize>(text: &[u8]) -> Result<[u8; N], InvalidTraceparent> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(InvalidTraceparent),
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_malformed_is_refused() {
        let bad = [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        ];
        for text in bad {
            assert_eq!(TraceContext::parse(text.as_bytes()), Err(InvalidTraceparent), "{text}");
        }
    }

    #[test]
    fn a_higher_version_is_read_by_its_known_fields() {
        let text = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes";
        let trace = TraceContext::parse(text.as_bytes()).unwrap();
        assert_eq!(trace.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(trace.is_sampled());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let trace = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(trace.to_traceparent(trace.parent().unwrap()), GOOD);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceContext::parse(&bytes);
        }
    }
}
