//! Lines for people.

use std::fmt::{self, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultVisitor, Format, Full, Writer},
    },
    registry::LookupSpan,
};

use super::ids::Ids;
use crate::redact::Redact;

/// The usual format of tracing-subscriber, and the ids of the request at the end.
pub(super) struct Text(Format<Full>);

impl Text {
    pub(super) fn new(coloured: bool) -> Self {
        Self(Format::default().with_ansi(coloured))
    }
}

impl<S, N> FormatEvent<S, N> for Text
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
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let mut said = Said::default();
        event.record(&mut said);
        let said = said.0;
        let names: Vec<&str> = said.iter().map(|(name, _)| name).collect();
        let ids = if event.is_root() { said } else { said.or_current() };
        line.truncate(line.trim_end().len());
        for (name, id) in ids.iter().filter(|(name, _)| !names.contains(name)) {
            write!(line, " {name}={id}")?;
        }
        writeln!(writer, "{line}")
    }
}

/// Writes the fields of events and spans as tracing-subscriber does, but for those that are redacted.
pub(super) struct TextFields(pub(super) Redact);

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = DefaultVisitor::new(writer, true);
        fields.record(&mut self.0.visitor(&mut visitor));
        visitor.finish()
    }
}

/// Which ids the event says itself.
#[derive(Default)]
struct Said(Ids);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
        self.0.take(field.name(), &"");
    }
}
