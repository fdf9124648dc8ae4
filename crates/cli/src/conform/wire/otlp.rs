//! A stand-in for the collector that the service under test sends its spans to: OTLP over HTTP, protobuf, not compressed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Endpoint, Trouble,
    protobuf::{Fields, Value},
    stand_in::{listen, read_call},
};
use crate::conform::settings::Assignment;

/// What is held at most; the oldest go first.
const MOST_SPANS: usize = 10_000;

/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
pub(crate) const SERVER: u64 = 2;
pub(crate) const CLIENT: u64 = 3;

/// A span that came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// The ids are lower-case hexadecimal digits; no parent is none.
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) kind: u64,
    /// Texts and numbers, as text.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// Listens in the place of a collector, until dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    at: Endpoint,
    spans: Arc<Mutex<Vec<Span>>>,
    _tasks: JoinSet<()>,
}

impl Collector {
    /// # Errors
    /// A sentence that names the address.
    pub(crate) async fn listen(at: &Endpoint) -> Result<Self, String> {
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let tasks = listen("--otlp", at, {
            let spans = Arc::clone(&spans);
            move |stream| serve(stream, Arc::clone(&spans))
        });
        Ok(Self { at: at.clone(), _tasks: tasks.await?, spans })
    }

    /// What tells the exporter of any SDK of OpenTelemetry to send here, and soon.
    pub(crate) fn environment(&self) -> [Assignment; 5] {
        [
            ("OTEL_TRACES_EXPORTER", "otlp".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.at.authority())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none".to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ]
        .map(|(name, value)| Assignment { name: name.to_owned(), value })
    }

    /// The spans of this trace, once they are all there or `within` is over.
    pub(crate) async fn trace(
        &self,
        trace: &str,
        within: Duration,
        all: impl Fn(&[Span]) -> bool,
    ) -> Vec<Span> {
        let deadline = Instant::now() + within;
        loop {
            let spans: Vec<Span> =
                lock(&self.spans).iter().filter(|span| span.trace == trace).cloned().collect();
            if all(&spans) || Instant::now() > deadline {
                return spans;
            }
            sleep(Duration::from_millis(25)).await;
        }
    }
}

fn lock(spans: &Mutex<Vec<Span>>) -> std::sync::MutexGuard<'_, Vec<Span>> {
    spans.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, spans: Arc<Mutex<Vec<Span>>>) -> Result<(), Trouble> {
    let mut buffer = Vec::new();
    loop {
        let (call, body) = read_call(&mut stream, &mut buffer).await?;
        let is_plain = call.field("content-encoding").is_none_or(|coding| coding == "identity");
        // Metrics and logs are taken too, and not looked at.
        let read = if call.target.ends_with("/v1/traces") { read(&body) } else { Some(Vec::new()) };
        let status = match read {
            Some(more) if is_plain => {
                let mut spans = lock(&spans);
                spans.extend(more);
                let surplus = spans.len().saturating_sub(MOST_SPANS);
                spans.drain(..surplus);
                "200 OK"
            }
            _ if is_plain => "400 Bad Request",
            _ => "415 Unsupported Media Type",
        };
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// `ExportTraceServiceRequest`; `None` where it is malformed.
fn read(message: &[u8]) -> Option<Vec<Span>> {
    let mut spans = Vec::new();
    // resource_spans = 1, in it scope_spans = 2, in it spans = 2.
    for resource in within(message, 1)? {
        for scope in within(resource, 2)? {
            for span in within(scope, 2)? {
                spans.push(read_span(span)?);
            }
        }
    }
    Some(spans)
}

/// The messages that a message has under this number.
fn within(message: &[u8], number: u64) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    for field in Fields(message) {
        match field? {
            (own, Value::Bytes(inner)) if own == number => found.push(inner),
            _ => {}
        }
    }
    Some(found)
}

fn read_span(message: &[u8]) -> Option<Span> {
    let mut span = Span::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(id)) => span.trace = hex(id),
            (2, Value::Bytes(id)) => span.id = hex(id),
            (4, Value::Bytes(id)) => span.parent = hex(id),
            (5, Value::Bytes(name)) => span.name = text(name),
            (6, Value::Varint(kind)) => span.kind = kind,
            (9, Value::Bytes(pair)) => {
                let (name, value) = read_attribute(pair)?;
                span.attributes.insert(name, value);
            }
            _ => {}
        }
    }
    Some(span)
}

/// `KeyValue`, its value a text, a truth, a whole number or another one.
fn read_attribute(message: &[u8]) -> Option<(String, String)> {
    let (mut name, mut value) = (String::new(), String::new());
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(key)) => name = text(key),
            (2, Value::Bytes(any)) => {
                for field in Fields(any) {
                    value = match field? {
                        (1, Value::Bytes(own)) => text(own),
                        (2, Value::Varint(own)) => (own != 0).to_string(),
                        (3, Value::Varint(own)) => own.cast_signed().to_string(),
                        (4, Value::Fixed64(bits)) => f64::from_bits(bits).to_string(),
                        _ => continue,
                    };
                }
            }
            _ => {}
        }
    }
    Some((name, value))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What protoc makes of a request with one span of one attribute of each kind that is read.
    const REQUEST: &[u8] = b"\x0a\x51\x12\x4f\x12\x4d\
        \x0a\x02\xab\x01\x12\x01\x07\x22\x01\x09\x2a\x05GET /\x30\x02\x39........\
        \x4a\x08\x0a\x01t\x12\x03\x0a\x01x\
        \x4a\x07\x0a\x01b\x12\x02\x10\x01\
        \x4a\x08\x0a\x01i\x12\x03\x18\xc8\x01\
        \x4a\x0e\x0a\x01d\x12\x09\x21\0\0\0\0\0\0\xf8\x3f\
        \x7a\x02\x18\x01";

    #[test]
    fn spans_are_read_and_what_is_cut_off_is_malformed() {
        let spans = read(REQUEST).unwrap();
        let attributes = [("b", "true"), ("d", "1.5"), ("i", "200"), ("t", "x")];
        let expected = Span {
            trace: "ab01".to_owned(),
            id: "07".to_owned(),
            parent: "09".to_owned(),
            name: "GET /".to_owned(),
            kind: SERVER,
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        assert_eq!(spans, [expected]);
        for cut in 1..REQUEST.len() {
            assert_eq!(read(&REQUEST[..cut]), None, "{cut}");
        }
    }
}
