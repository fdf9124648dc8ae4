//! Fields of spans and events as attributes.

use std::{borrow::Cow, fmt};

use mainstay_core::{
    error::Report,
    trace::{Kind, Span, Value},
};
use tracing::field::{Field, Visit};

/// What the fields of a span say.
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) values: Vec<(Cow<'static, str>, Value)>,
    pub(super) name: Option<String>,
    pub(super) kind: Kind,
    /// `Some(true)`: it failed.
    failed: Option<bool>,
    description: Option<String>,
}

impl Attributes {
    fn put(&mut self, field: &Field, value: Value) {
        // A raw identifier is named without its mark.
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        match (name, &value) {
            ("otel.name", Value::Text(text)) => self.name = Some(text.clone().into_owned()),
            ("otel.kind", Value::Text(text)) => self.kind = kind(text),
            ("otel.status_code", Value::Text(text)) => self.failed = Some(text.eq_ignore_ascii_case("error")),
            ("otel.status_description" | "otel.status_message", Value::Text(text)) => {
                self.description = Some(text.clone().into_owned());
            }
            _ => self.values.push((name.into(), value)),
        }
    }

    /// Takes the value of a field out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.values.iter().position(|(own, _)| own == name)?;
        Some(self.values.remove(place).1)
    }

    /// Sets all of it on a span that was begun.
    pub(super) fn set_on(self, span: &Span) {
        for (name, value) in self.values {
            span.set(name, value);
        }
        if let Some(name) = self.name {
            span.rename(name);
        }
        if self.failed == Some(true) || (self.failed.is_none() && self.description.is_some()) {
            span.fail(self.description.unwrap_or_default());
        }
    }
}

fn kind(text: &str) -> Kind {
    match text {
        _ if text.eq_ignore_ascii_case("server") => Kind::Server,
        _ if text.eq_ignore_ascii_case("client") => Kind::Client,
        _ if text.eq_ignore_ascii_case("producer") => Kind::Producer,
        _ if text.eq_ignore_ascii_case("consumer") => Kind::Consumer,
        _ => Kind::Internal,
    }
}

impl Visit for Attributes {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned().into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // One that OpenTelemetry has no number for is told exactly.
        let value = i64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from);
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, Report::new(value).to_string().into());
    }
}
