//! Spans as messages of OTLP 1.x (`opentelemetry/proto/trace/v1/trace.proto` and its neighbours). Numbers of fields never
//! change there.

use std::time::{SystemTime, UNIX_EPOCH};

use mainstay_core::trace::{Event, Kind, SpanData, Status, Value};

use crate::protobuf::Writer;
use crate::resource::Resource;

/// The conventions that names of attributes follow.
pub(super) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Fields of `Span.flags` beyond those of W3C.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// `Resource`.
pub(super) fn resource(to: &mut Writer, resource: &Resource) {
    for (name, value) in resource.iter() {
        to.message(1, |pair| text_pair(pair, name, value));
    }
}

/// The scope of what the framework tells itself.
pub(super) const OURS: &str = "mainstay";

/// `InstrumentationScope`.
pub(super) fn scope(to: &mut Writer, name: &str) {
    to.bytes(1, name.as_bytes());
    if name == OURS {
        to.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
    }
}

/// `Span`.
pub(super) fn span(to: &mut Writer, span: &SpanData) {
    let trace = &span.trace;
    to.bytes(1, &trace.trace_id().to_bytes());
    to.bytes(2, &trace.span_id().to_bytes());
    if let Some(state) = &span.tracestate {
        text(to, 3, state.as_bytes());
    }
    if let Some(parent) = span.parent() {
        to.bytes(4, &parent.to_bytes());
    }
    to.bytes(5, span.name.as_bytes());
    to.uint(6, kind(span.kind));
    to.fixed64(7, nanos(span.start));
    to.fixed64(8, nanos(span.end));
    for (name, value) in &span.attributes {
        to.message(9, |pair| attribute(pair, name, value));
    }
    to.uint(10, span.dropped_attributes.into());
    for happened in &span.events {
        to.message(11, |within| event(within, happened));
    }
    to.uint(12, span.dropped_events.into());
    match &span.status {
        Status::Ok => to.message(15, |status| status.uint(3, 1)),
        Status::Error(why) => to.message(15, |status| {
            status.bytes(2, why.as_bytes());
            status.uint(3, 2);
        }),
        _ => {}
    }
    let remote = if span.is_parent_remote { IS_REMOTE } else { 0 };
    let w3c = u32::from(trace.is_sampled()) | u32::from(trace.is_random()) << 1;
    to.fixed32(16, w3c | HAS_IS_REMOTE | remote);
}

/// About as many bytes as the span holds in memory beyond its own size.
pub(super) fn weight(span: &SpanData) -> usize {
    let events = span.events.iter().map(|event| attributes_weight(&event.attributes) + ATTRIBUTE);
    size_of::<SpanData>() + attributes_weight(&span.attributes) + events.sum::<usize>()
}

pub(super) fn attributes_weight<N>(attributes: &[(N, Value)]) -> usize {
    let value = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
    attributes.iter().map(|(_, own)| value(own) + ATTRIBUTE).sum()
}

const ATTRIBUTE: usize = size_of::<(std::borrow::Cow<'static, str>, Value)>();

fn event(to: &mut Writer, event: &Event) {
    to.fixed64(1, nanos(event.at));
    to.bytes(2, event.name.as_bytes());
    for (name, value) in &event.attributes {
        to.message(3, |pair| attribute(pair, name, value));
    }
}

pub(super) fn attribute(to: &mut Writer, name: &str, value: &Value) {
    to.bytes(1, name.as_bytes());
    to.message(2, |any| match value {
        Value::Text(text) => any.variant_bytes(1, text.as_bytes()),
        Value::Bool(value) => any.variant_uint(2, u64::from(*value)),
        // Negative ones are as long as protobuf makes them.
        Value::Int(value) => any.variant_uint(3, *value as u64),
        Value::Float(value) => any.double(4, *value),
        _ => {}
    });
}

pub(super) fn text_pair(to: &mut Writer, name: &str, value: &str) {
    to.bytes(1, name.as_bytes());
    to.message(2, |any| any.variant_bytes(1, value.as_bytes()));
}

/// Text has to be UTF-8, which a header field need not be.
fn text(to: &mut Writer, field: u32, bytes: &[u8]) {
    to.bytes(field, String::from_utf8_lossy(bytes).as_bytes());
}

fn kind(kind: Kind) -> u64 {
    match kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
        Kind::Producer => 4,
        Kind::Consumer => 5,
        _ => 0,
    }
}

pub(super) fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
