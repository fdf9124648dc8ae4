//! Lines for people.

use std::fmt::{self, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

use super::ids::Ids;

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
        let (has_trace, has_request) = (said.0.trace_id.is_some(), said.0.request_id.is_some());
        let ids = said.0.or_current();
        line.truncate(line.trim_end().len());
        for (key, has, id) in
            [("trace_id", has_trace, ids.trace_id), ("request_id", has_request, ids.request_id)]
        {
            if let (false, Some(id)) = (has, id) {
                write!(line, " {key}={id}")?;
            }
        }
        writeln!(writer, "{line}")
    }
}

/// Which ids the event says itself.
#[derive(Default)]
struct Said(Ids);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
        self.0.take(field.name(), String::new);
    }
}
