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

    /// The trace that a caller says, in a format that knows no other flags.
    pub(super) fn continued(trace_id: TraceId, parent: SpanId, sampled: bool) -> Self {
        Self { trace_id, parent: Some(parent), span_id: SpanId::random(), flags: u8::from(sampled) }
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
pub(super) fn read_hex<const N: usize>(text: &[u8]) -> Result<[u8; N], InvalidTraceparent> {
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

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn read(text: &str) -> Result<TraceContext, InvalidTraceparent> {
        TraceContext::parse(text.as_bytes())
    }

    /// What is sent on, by the span that it came from.
    fn sent(text: &str) -> HeaderValue {
        let trace = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        trace.to_traceparent(trace.parent().unwrap())
    }

    /// Section 3.2.2.
    #[test]
    fn what_is_malformed_is_refused() {
        let (zero_trace, zero_parent) = ("0".repeat(32), "0".repeat(16));
        let bad = [
            String::new(),
            "00".into(),
            "-".repeat(55),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-"),
            format!("{TRACE}-{PARENT}-01"),
            // The version: two lower-case digits, and not ff.
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("FF-{TRACE}-{PARENT}-01"),
            format!("0A-{TRACE}-{PARENT}-01"),
            format!(".0-{TRACE}-{PARENT}-01"),
            format!("0.-{TRACE}-{PARENT}-01"),
            format!("0-{TRACE}-{PARENT}-01"),
            format!("000-{TRACE}-{PARENT}-01"),
            format!("0000-{TRACE}-{PARENT}-01"),
            // The ids: so many lower-case digits, not all zero.
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{zero_trace}-{PARENT}-01"),
            format!("00-.{}-{PARENT}-01", &TRACE[1..]),
            format!("00-{}.-{PARENT}-01", &TRACE[1..]),
            format!("00-{}-{PARENT}-01", &TRACE[1..]),
            format!("00-{TRACE}0-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", PARENT.to_uppercase()),
            format!("00-{TRACE}-{zero_parent}-01"),
            format!("00-{TRACE}-.{}-01", &PARENT[1..]),
            format!("00-{TRACE}-{}.-01", &PARENT[1..]),
            format!("00-{TRACE}-{}-01", &PARENT[1..]),
            format!("00-{TRACE}-{PARENT}0-01"),
            // The flags: two lower-case digits.
            format!("00-{TRACE}-{PARENT}-.0"),
            format!("00-{TRACE}-{PARENT}-0."),
            format!("00-{TRACE}-{PARENT}-0A"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{TRACE}-{PARENT}-001"),
            // Dashes between them.
            format!("00_{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}_{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}_01"),
            // Nothing around them, and in version 00 nothing behind.
            format!(" 00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01 "),
            format!("00-{TRACE}-{PARENT}-01."),
            format!("00-{TRACE}-{PARENT}-01-"),
            format!("00-{TRACE}-{PARENT}-01-what-comes"),
            format!("00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01"),
        ];
        for text in bad {
            assert_eq!(read(&text), Err(InvalidTraceparent), "{text}");
        }
    }

    /// Section 3.2.4.
    #[test]
    fn of_a_higher_version_the_known_fields_are_read_and_sent_on_as_version_00() {
        let known = format!("00-{TRACE}-{PARENT}-01");
        for (version, rest) in [("01", ""), ("01", "-"), ("cc", "-what-comes"), ("fe", "-01-x\u{e4}")] {
            assert_eq!(sent(&format!("{version}-{TRACE}-{PARENT}-01{rest}")), known);
        }
        let zero_trace = "0".repeat(32);
        let bad = [
            format!("01-{TRACE}-{PARENT}-01x"),
            format!("cc-{TRACE}-{PARENT}-01.what-comes"),
            format!("cc-{TRACE}-{PARENT}-0"),
            format!("cc-{TRACE}-{PARENT}-0x-1"),
            format!("cc-{zero_trace}-{PARENT}-01"),
            format!("cc-{}-{PARENT}-01", TRACE.to_uppercase()),
        ];
        for text in bad {
            assert_eq!(read(&text), Err(InvalidTraceparent), "{text}");
        }
    }

    /// Section 3.2.2.5: each flag is a bit; those that are not known are sent as zero.
    #[test]
    fn of_the_flags_the_known_ones_are_sent_on() {
        for (flags, sampled, random) in [
            ("00", false, false),
            ("01", true, false),
            ("02", false, true),
            ("03", true, true),
            ("04", false, false),
            ("fc", false, false),
            ("fd", true, false),
            ("ff", true, true),
        ] {
            let text = format!("00-{TRACE}-{PARENT}-{flags}");
            let trace = read(&text).unwrap();
            assert_eq!((trace.is_sampled(), trace.is_random()), (sampled, random), "{flags}");
            let known = u8::from(sampled) | u8::from(random) << 1;
            assert_eq!(sent(&text), format!("00-{TRACE}-{PARENT}-{known:02x}"));
        }
    }

    #[test]
    fn whether_it_is_sampled_changes_no_other_flag() {
        let trace = read(&format!("00-{TRACE}-{PARENT}-02")).unwrap();
        assert!(trace.sampled(true).is_random() && trace.sampled(true).is_sampled());
        assert!(trace.sampled(true).sampled(false).is_random());
        let trace = read(&format!("00-{TRACE}-{PARENT}-01")).unwrap();
        assert!(!trace.sampled(false).is_random());
    }

    #[test]
    fn a_new_trace_says_that_it_is_random_and_not_that_it_is_sampled() {
        let (one, other) = (TraceContext::root(), TraceContext::root());
        assert!(one.is_random() && !one.is_sampled() && one.parent().is_none());
        assert_ne!((one.trace_id(), one.span_id()), (other.trace_id(), other.span_id()));
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(sent(GOOD), GOOD);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceContext::parse(&bytes);
        }
    }
}
