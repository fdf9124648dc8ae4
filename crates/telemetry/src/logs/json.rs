//! One JSON object a line.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::ids::Ids;

/// Writes JSON lines; spans' fields have to be formatted as JSON too.
pub(super) struct Json;

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
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut visitor = Fields::default();
        event.record(&mut visitor);
        let ids = visitor.ids.or_current();

        let spans: Vec<Value> = context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .map(|span| {
                let fields =
                    span.extensions().get::<FormattedFields<N>>().map(|fields| fields.fields.clone());
                let fields = fields.and_then(|fields| serde_json::from_str(&fields).ok());
                let mut fields: Map<String, Value> = fields.unwrap_or_default();
                fields.insert("name".to_owned(), span.name().into());
                fields.into()
            })
            .collect();
        let line = Line {
            timestamp,
            severity: event.metadata().level().as_str(),
            target: event.metadata().target(),
            message: visitor.message,
            fields: visitor.fields,
            spans,
            trace_id: ids.trace_id,
            request_id: ids.request_id,
        };
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

/// A line, its members in the order in which they are written.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    severity: &'a str,
    target: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    spans: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    ids: Ids,
    fields: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // A raw identifier is named without its mark.
        let name = field.name().trim_start_matches("r#");
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if name == "message" {
            self.message = text(&value);
        } else if !self.ids.take(name, || text(&value)) {
            self.fields.insert(name.to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity: as text.
        let number = serde_json::Number::from_f64(value).map(Value::from);
        self.put(field, number.unwrap_or_else(|| value.to_string().into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, mainstay_core::error::Report::new(value).to_string().into());
    }
}
