//! One JSON object a line, written straight into the buffer of the line.

use std::{cell::RefCell, fmt, fmt::Write as _};

use mainstay_core::error::Report;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::Record,
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

use super::{escape, ids::Ids, timestamp};
use crate::redact::Redact;

/// Writes JSON lines; the fields of spans are formatted by [`JsonFields`].
pub(super) struct Json(pub(super) Redact);

/// Writes the fields of a span as members of an object, without its braces.
pub(super) struct JsonFields(pub(super) Redact);

/// What a line is made in.
#[derive(Default)]
struct Buffers {
    line: String,
    attributes: String,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// A line that was longer leaves no buffer behind.
const KEEP: usize = 16 * 1024;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Taken, rather than borrowed: what is formatted may log a line of its own.
        let mut buffers = BUFFERS.take();
        buffers.line.clear();
        buffers.attributes.clear();
        self.write(context, event, &mut buffers);
        let written = writer.write_str(&buffers.line);
        if buffers.line.capacity() <= KEEP {
            BUFFERS.set(buffers);
        }
        written
    }
}

impl Json {
    fn write<S, N>(&self, context: &FmtContext<'_, S, N>, event: &Event<'_>, buffers: &mut Buffers)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        let Buffers { line, attributes } = buffers;
        let metadata = event.metadata();
        line.push_str("{\"timestamp\":\"");
        timestamp::write(line);
        line.push_str("\",\"severity_text\":\"");
        line.push_str(metadata.level().as_str());
        line.push_str("\",\"severity_number\":");
        line.push_str(severity_number(*metadata.level()));
        line.push_str(",\"scope\":");
        escape::text(line, metadata.target());
        line.push_str(",\"body\":");
        let mut fields = Fields { members: attributes, event: Some(OfEvent { line, ids: Ids::default() }) };
        event.record(&mut self.0.visitor(&mut fields));
        let mut ids = fields.event.map(|event| event.ids).unwrap_or_default();
        // `parent: None`: it is of no request.
        if !event.is_root() {
            ids = ids.or_current();
        }
        if line.ends_with(':') {
            line.push_str("\"\"");
        }
        if !attributes.is_empty() {
            line.push_str(",\"attributes\":{");
            line.push_str(attributes);
            line.push('}');
        }
        let mut between = ",\"spans\":[";
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            line.push_str(between);
            between = ",";
            line.push_str("{\"name\":");
            escape::text(line, span.name());
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                line.push(',');
                line.push_str(fields);
            }
            line.push('}');
        }
        if between == "," {
            line.push(']');
        }
        for (name, id) in ids.iter() {
            line.push_str(",\"");
            line.push_str(name);
            line.push_str("\":");
            escape::text(line, id);
        }
        line.push_str("}\n");
    }
}

impl<'w> FormatFields<'w> for JsonFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut members = String::new();
        fields.record(&mut self.0.visitor(&mut Fields { members: &mut members, event: None }));
        writer.write_str(&members)
    }

    /// A field that was recorded before is there once, with what it is now.
    fn add_fields(&self, current: &'w mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let mut members = String::new();
        fields.record(&mut self.0.visitor(&mut Fields { members: &mut members, event: None }));
        let read = |members: &str| serde_json::from_str::<Map<String, Value>>(&format!("{{{members}}}"));
        let mut all = read(&current.fields).map_err(|_| fmt::Error)?;
        all.append(&mut read(&members).map_err(|_| fmt::Error)?);
        let all = Value::from(all).to_string();
        // Without its braces.
        current.fields = all.get(1..all.len() - 1).unwrap_or_default().to_owned();
        Ok(())
    }
}

/// `SeverityNumber` of OpenTelemetry's log data model.
fn severity_number(level: Level) -> &'static str {
    match level {
        Level::TRACE => "1",
        Level::DEBUG => "5",
        Level::INFO => "9",
        Level::WARN => "13",
        Level::ERROR => "17",
    }
}

/// Writes fields as members of an object.
struct Fields<'a> {
    members: &'a mut String,
    event: Option<OfEvent<'a>>,
}

/// What of an event stands elsewhere.
struct OfEvent<'a> {
    /// Up to its body.
    line: &'a mut String,
    ids: Ids,
}

impl Fields<'_> {
    /// Where the value of the field goes as JSON; `None`: it is an id, and is there now.
    fn place(&mut self, field: &Field, value: &dyn fmt::Display) -> Option<&mut String> {
        let name = field.name();
        // A raw identifier is named without its mark.
        let name = name.strip_prefix("r#").unwrap_or(name);
        if let Some(event) = &mut self.event {
            if name == "message" && event.line.ends_with(':') {
                return Some(event.line);
            }
            if event.ids.take(name, value) {
                return None;
            }
        }
        if !self.members.is_empty() {
            self.members.push(',');
        }
        escape::text(self.members, name);
        self.members.push(':');
        Some(self.members)
    }

    fn plain(&mut self, field: &Field, value: &dyn fmt::Display) {
        if let Some(to) = self.place(field, value) {
            // Writing to a string can't fail, but what is written can.
            let _ = write!(to, "{value}");
        }
    }

    fn text(&mut self, field: &Field, value: &dyn fmt::Display) {
        if let Some(to) = self.place(field, value) {
            escape::formatted(to, value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(to) = self.place(field, &value) {
            escape::text(to, value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity: as text.
        if value.is_finite() { self.plain(field, &value) } else { self.text(field, &value) }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &Report::new(value));
    }
}
