//! The formats in which trace context goes from process to process: that of the W3C, and older ones.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{SpanId, TRACEPARENT, TRACESTATE, TraceContext, TraceId, trace::read_hex};

/// `b3` in one field, and in several: <https://github.com/openzipkin/b3-propagation>.
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
/// <https://www.jaegertracing.io/sdk-migration/#propagation-format>
const JAEGER: HeaderName = HeaderName::from_static("uber-trace-id");

/// A format of trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// `traceparent` and `tracestate` of W3C Trace Context.
    W3c,
    /// Zipkin's `b3`, one field.
    B3,
    /// Zipkin's `x-b3-traceid` and the others beside it.
    B3Multi,
    /// Jaeger's `uber-trace-id`.
    Jaeger,
}

/// How many there are.
const FORMATS: usize = 4;

/// Which formats are read, in this order, and written. Default: that of the W3C alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation([Option<Format>; FORMATS]);

/// A list of formats that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one or more of `w3c`, `b3`, `b3multi` and `jaeger` are needed, each once")]
#[non_exhaustive]
pub struct InvalidPropagation;

impl Propagation {
    /// These formats.
    ///
    /// # Errors
    /// [`InvalidPropagation`] where there is none, or one twice.
    pub fn new(formats: impl IntoIterator<Item = Format>) -> Result<Self, InvalidPropagation> {
        let mut all = [None; FORMATS];
        let mut free = all.iter_mut();
        let mut seen = Vec::with_capacity(FORMATS);
        for format in formats {
            if seen.contains(&format) {
                return Err(InvalidPropagation);
            }
            seen.push(format);
            *free.next().ok_or(InvalidPropagation)? = Some(format);
        }
        if seen.is_empty() { Err(InvalidPropagation) } else { Ok(Self(all)) }
    }

    /// The formats, in their order.
    pub fn formats(&self) -> impl Iterator<Item = Format> {
        self.0.into_iter().flatten()
    }

    /// Whether the W3C's is all there is.
    #[must_use]
    pub fn is_w3c_alone(&self) -> bool {
        matches!(self.0, [Some(Format::W3c), None, ..])
    }

    /// What the first format says that says something well-formed, and whether that is the W3C's; `w3c` is what that one says.
    #[cold]
    pub(crate) fn read(self, headers: &HeaderMap, w3c: Option<TraceContext>) -> Option<(TraceContext, bool)> {
        self.formats().find_map(|format| match format {
            Format::W3c => w3c.map(|trace| (trace, true)),
            Format::B3 => Some((b3(one(headers, &B3)?)?, false)),
            Format::B3Multi => Some((b3_multi(headers)?, false)),
            Format::Jaeger => Some((jaeger(one(headers, &JAEGER)?)?, false)),
        })
    }

    /// Writes that a request is sent from `span` of `trace`.
    pub fn write(self, trace: &TraceContext, span: SpanId, headers: &mut HeaderMap) {
        if self.is_w3c_alone() {
            headers.insert(TRACEPARENT, trace.to_traceparent(span));
        } else {
            self.write_all(trace, span, headers);
        }
    }

    #[cold]
    fn write_all(self, trace: &TraceContext, span: SpanId, headers: &mut HeaderMap) {
        let sampled = if trace.is_sampled() { "1" } else { "0" };
        let trace_id = trace.trace_id();
        let mut put = |name, text: String| {
            // Digits and dashes.
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        for format in self.formats() {
            match format {
                Format::W3c => {}
                Format::B3 => put(B3, format!("{trace_id}-{span}-{sampled}")),
                Format::B3Multi => {
                    put(B3_TRACE, trace_id.to_string());
                    put(B3_SPAN, span.to_string());
                    put(B3_SAMPLED, sampled.to_owned());
                }
                // The parent of the span is no longer sent: 0.
                Format::Jaeger => put(JAEGER, format!("{trace_id}:{span}:0:0{sampled}")),
            }
        }
        let has = |wanted| self.formats().any(|format| format == wanted);
        if has(Format::B3Multi) {
            // A proxy has copied what its caller said: both are about another span.
            headers.remove(B3_PARENT);
            headers.remove(B3_FLAGS);
        }
        if has(Format::W3c) {
            headers.insert(TRACEPARENT, trace.to_traceparent(span));
        } else {
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
        }
    }
}

impl Default for Propagation {
    fn default() -> Self {
        Self([Some(Format::W3c), None, None, None])
    }
}

impl Serialize for Propagation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.formats())
    }
}

impl<'de> Deserialize<'de> for Propagation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let formats = Vec::<Format>::deserialize(deserializer)?;
        Self::new(formats).map_err(|InvalidPropagation| {
            de::Error::custom("one or more of `w3c`, `b3`, `b3multi` and `jaeger`, each once")
        })
    }
}

/// The value of a field that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// `{trace id}-{span id}`, and behind it whether it is sampled and the parent of the span. Where there are no ids, `0` say,
/// there is nothing to continue.
fn b3(value: &[u8]) -> Option<TraceContext> {
    let mut fields = value.split(|byte| *byte == b'-');
    let (trace, span) = (fields.next()?, fields.next()?);
    let sampled = fields.next().map_or(Some(false), b3_sampled)?;
    let parent = fields.next().is_none_or(|parent| hex::<8>(parent, 16..=16).is_some());
    (parent && fields.next().is_none()).then(|| b3_context(trace, span, sampled))?
}

fn b3_multi(headers: &HeaderMap) -> Option<TraceContext> {
    let (trace, span) = (one(headers, &B3_TRACE)?, one(headers, &B3_SPAN)?);
    // Debug is more than sampled.
    let sampled = match one(headers, &B3_FLAGS) {
        Some(b"1") => true,
        _ => one(headers, &B3_SAMPLED).map_or(Some(false), b3_sampled)?,
    };
    b3_context(trace, span, sampled)
}

fn b3_context(trace: &[u8], span: &[u8], sampled: bool) -> Option<TraceContext> {
    let trace = if trace.len() == 16 { hex(trace, 16..=16) } else { hex(trace, 32..=32) };
    context(trace?, hex(span, 16..=16)?, sampled)
}

/// `true` and `false` are from before it was written down.
fn b3_sampled(field: &[u8]) -> Option<bool> {
    match field {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

/// `{trace id}:{span id}:{parent span id}:{flags}`, zeros at the left of each may be missing, the colons encoded.
fn jaeger(value: &[u8]) -> Option<TraceContext> {
    let text = std::str::from_utf8(value).ok()?.replace("%3A", ":").replace("%3a", ":");
    let fields: Vec<_> = text.splitn(5, ':').map(str::as_bytes).collect();
    let [trace, span, parent, flags] = fields[..] else { return None };
    hex::<8>(parent, 1..=16)?;
    let [flags] = hex(flags, 1..=2)?;
    // Sampled, or debug, which is more than that.
    context(hex(trace, 1..=32)?, hex(span, 1..=16)?, flags & 0x03 != 0)
}

fn context(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Option<TraceContext> {
    Some(TraceContext::continued(TraceId::from_bytes(trace)?, SpanId::from_bytes(span)?, sampled))
}

/// So many lower-case digits, with zeros in the place of those at the left that are missing.
fn hex<const N: usize>(digits: &[u8], length: std::ops::RangeInclusive<usize>) -> Option<[u8; N]> {
    let missing = (2 * N).checked_sub(digits.len()).filter(|_| length.contains(&digits.len()))?;
    let mut all = vec![b'0'; missing];
    all.extend_from_slice(digits);
    read_hex(&all).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn only(format: Format) -> Propagation {
        Propagation::new([format]).unwrap()
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    /// Trace, span and whether it is sampled.
    fn read(format: Format, fields: &[(HeaderName, &str)]) -> Option<(String, String, bool)> {
        let (trace, is_w3c) = only(format).read(&headers(fields), None)?;
        assert!(!is_w3c && !trace.is_random());
        Some((trace.trace_id().to_string(), trace.parent().unwrap().to_string(), trace.is_sampled()))
    }

    fn this(sampled: bool) -> Option<(String, String, bool)> {
        Some((TRACE.into(), SPAN.into(), sampled))
    }

    #[test]
    fn b3_in_one_field_is_read() {
        for (rest, sampled) in [
            ("", false),
            ("-0", false),
            ("-1", true),
            ("-d", true),
            ("-1-05e3ac9a4f6e3b90", true),
            ("-0-05e3ac9a4f6e3b90", false),
        ] {
            assert_eq!(read(Format::B3, &[(B3, &format!("{TRACE}-{SPAN}{rest}"))]), this(sampled), "{rest}");
        }
        let short = read(Format::B3, &[(B3, &format!("a3ce929d0e0e4736-{SPAN}-1"))]).unwrap();
        assert_eq!(short.0, "0000000000000000a3ce929d0e0e4736");
        let zero = "0".repeat(32);
        let bad = [
            "",
            "0",
            "1",
            "d",
            TRACE,
            &format!("{TRACE}-"),
            &format!("{TRACE}-{}", &SPAN[1..]),
            &format!("{}-{SPAN}-1", &TRACE[1..]),
            &format!("{TRACE}0-{SPAN}-1"),
            &format!("{}-{SPAN}-1", TRACE.to_uppercase()),
            &format!("{zero}-{SPAN}-1"),
            &format!("{TRACE}-{}-1", &zero[16..]),
            &format!("{TRACE}-{SPAN}-"),
            &format!("{TRACE}-{SPAN}-2"),
            &format!("{TRACE}-{SPAN}-1-"),
            &format!("{TRACE}-{SPAN}-1-x5e3ac9a4f6e3b90"),
            &format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90-1"),
        ];
        for bad in bad {
            assert_eq!(read(Format::B3, &[(B3, bad)]), None, "{bad}");
        }
        let twice = format!("{TRACE}-{SPAN}-1");
        assert_eq!(read(Format::B3, &[(B3, &twice), (B3, &twice)]), None);
    }

    #[test]
    fn b3_in_several_fields_is_read() {
        let ids = [(B3_TRACE, TRACE), (B3_SPAN, SPAN)];
        let with = |more: &[(HeaderName, &str)]| read(Format::B3Multi, &[&ids, more].concat());
        assert_eq!(with(&[]), this(false));
        for (value, sampled) in [("1", true), ("0", false), ("true", true), ("false", false)] {
            assert_eq!(with(&[(B3_SAMPLED, value)]), this(sampled), "{value}");
        }
        assert_eq!(with(&[(B3_FLAGS, "1"), (B3_SAMPLED, "0")]), this(true));
        assert_eq!(with(&[(B3_SAMPLED, "yes")]), None);
        assert_eq!(with(&[(B3_SPAN, SPAN)]), None);
        assert_eq!(read(Format::B3Multi, &ids[..1]), None);
        assert_eq!(read(Format::B3Multi, &[(B3_SAMPLED, "1")]), None);
    }

    #[test]
    fn that_of_jaeger_is_read() {
        for (rest, sampled) in
            [("0:0", false), ("0:1", true), ("0:01", true), ("7:3", true), ("0:2", true), ("0:8", false)]
        {
            assert_eq!(
                read(Format::Jaeger, &[(JAEGER, &format!("{TRACE}:{SPAN}:{rest}"))]),
                this(sampled),
                "{rest}"
            );
        }
        assert_eq!(read(Format::Jaeger, &[(JAEGER, &format!("{TRACE}%3A{SPAN}%3a0%3A1"))]), this(true));
        let short = read(Format::Jaeger, &[(JAEGER, "7b:1c8:0:1")]).unwrap();
        assert_eq!((&*short.0, &*short.1), ("0000000000000000000000000000007b", "00000000000001c8"));
        let bad = [
            "",
            ":::",
            &format!("{TRACE}:{SPAN}:0"),
            &format!("{TRACE}:{SPAN}:0:1:1"),
            &format!("{TRACE}:{SPAN}::1"),
            &format!("{TRACE}:{SPAN}:0:001"),
            &format!("{TRACE}:{SPAN}:0:x"),
            &format!("{TRACE}0:{SPAN}:0:1"),
            &format!("{TRACE}:{SPAN}0:0:1"),
            &format!("0:{SPAN}:0:1"),
            &format!("{TRACE}:0:0:1"),
        ];
        for bad in bad {
            assert_eq!(read(Format::Jaeger, &[(JAEGER, bad)]), None, "{bad}");
        }
    }

    #[test]
    fn the_first_that_is_well_formed_counts() {
        let all = Propagation::new([Format::Jaeger, Format::W3c, Format::B3]).unwrap();
        let w3c = TraceContext::root();
        let fields = [(JAEGER, "malformed"), (B3, &*format!("{TRACE}-{SPAN}-1"))];
        assert_eq!(all.read(&headers(&fields), Some(w3c)), Some((w3c, true)));
        let (b3, is_w3c) = all.read(&headers(&fields), None).unwrap();
        assert!(b3.trace_id().to_string() == TRACE && !is_w3c);
        // What is not asked for is not read.
        assert_eq!(only(Format::Jaeger).read(&headers(&fields), Some(w3c)), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for format in [Format::B3, Format::B3Multi, Format::Jaeger] {
            for sampled in [true, false] {
                let (trace, span) = (TraceContext::root().sampled(sampled), SpanId::random());
                let mut headers = headers(&[(TRACEPARENT, "copied"), (TRACESTATE, "a=1"), (B3_FLAGS, "1")]);
                only(format).write(&trace, span, &mut headers);
                let (read, _) = only(format).read(&headers, None).unwrap();
                assert_eq!((read.trace_id(), read.parent()), (trace.trace_id(), Some(span)));
                assert_eq!(read.is_sampled(), sampled);
                assert!(!headers.contains_key(TRACEPARENT) && !headers.contains_key(TRACESTATE));
            }
        }
        let every = [Format::W3c, Format::B3, Format::B3Multi, Format::Jaeger];
        let mut all = headers(&[]);
        Propagation::new(every).unwrap().write(&TraceContext::root(), SpanId::random(), &mut all);
        assert!(
            [TRACEPARENT, B3, B3_TRACE, B3_SPAN, B3_SAMPLED, JAEGER]
                .iter()
                .all(|name| all.contains_key(name))
        );
    }

    #[test]
    fn a_list_has_each_format_once() {
        let read = |text: &str| serde_json::from_str::<Propagation>(text).map_err(|error| error.to_string());
        assert!(read(r#"["w3c"]"#).unwrap().is_w3c_alone());
        let list = r#"["b3","w3c","jaeger","b3multi"]"#;
        assert_eq!(serde_json::to_string(&read(list).unwrap()).unwrap(), list);
        for (bad, expected) in [
            ("[]", "one or more of `w3c`"),
            (r#"["b3","b3"]"#, "each once"),
            (r#"["w3c","b3","jaeger","b3multi","w3c"]"#, "each once"),
            (r#"["zipkin"]"#, "expected one of `w3c`, `b3`, `b3multi`, `jaeger`"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (b3(&bytes), jaeger(&bytes));
        }
    }
}
