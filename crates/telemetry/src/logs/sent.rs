//! Events as log records that are sent.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use mainstay_core::{context::RequestContext, error::Report, trace::Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::{ids::Ids, timestamp};
use crate::{
    otlp::{self, Record, Records},
    redact::Redact,
};

/// No text of a record is longer: enough for a stack trace.
const LENGTH: usize = 16 * 1024;

/// Where records go, once that is known, and the service that they are of where no request says another.
pub(super) type Place = Arc<OnceLock<(Records, Arc<str>)>>;

/// Layer that makes records of events.
pub(super) struct Sent {
    pub(super) redact: Redact,
    pub(super) to: Place,
}

impl<S: Subscriber> Layer<S> for Sent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some((records, process)) = self.to.get() else { return };
        if otlp::is_quiet() {
            return;
        }
        let mut said = Said::default();
        event.record(&mut self.redact.visitor(&mut said));
        let Said { body, mut attributes, mut ids } = said;
        let mut service = None;
        // `parent: None`: it is of no request.
        if !event.is_root() {
            ids = ids.or_current();
            service = RequestContext::current()
                .and_then(|context| context.ambient().server().map(|server| server.service().into()));
        }
        let (mut trace_id, mut span_id) = (None, None);
        for (name, id) in ids.iter() {
            match name {
                "trace_id" => trace_id = hex(id),
                "span_id" => span_id = hex(id),
                _ => {}
            }
            // What is no id as OpenTelemetry has them is told all the same.
            let is_told =
                (name == "trace_id" && trace_id.is_some()) || (name == "span_id" && span_id.is_some());
            if !is_told {
                attributes.push((name, id.to_owned().into()));
            }
        }
        let metadata = event.metadata();
        records.take(Record {
            service: service.unwrap_or_else(|| Arc::clone(process)),
            scope: metadata.target(),
            at: timestamp::now(),
            level: *metadata.level(),
            body,
            attributes,
            trace_id,
            span_id,
            is_sampled: ids.is_sampled(),
        });
    }
}

/// As many bytes as there are digits for.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// What the fields of an event say.
#[derive(Default)]
struct Said {
    body: String,
    attributes: Vec<(&'static str, Value)>,
    ids: Ids,
}

impl Said {
    fn text(&mut self, field: &Field, value: &dyn fmt::Display) {
        if self.ids.take(field.name(), value) {
            return;
        }
        let text = cut(value.to_string());
        if field.name() == "message" && self.body.is_empty() {
            self.body = text;
        } else {
            self.attributes.push((name(field), text.into()));
        }
    }

    fn put(&mut self, field: &Field, value: impl Into<Value> + fmt::Display) {
        if !self.ids.take(field.name(), &value) {
            self.attributes.push((name(field), value.into()));
        }
    }
}

/// A raw identifier is named without its mark.
fn name(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

fn cut(mut text: String) -> String {
    if text.len() > LENGTH {
        let end = (0..=LENGTH).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
    }
    text
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // One that OpenTelemetry has no number for is told exactly.
        match i64::try_from(value) {
            Ok(value) => self.put(field, value),
            Err(_) => self.text(field, &value),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &Report::new(value));
    }
}
