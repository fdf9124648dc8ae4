use std::borrow::Cow;

use mainstay_core::trace::{Span, Value};
use tracing::{
    Event, Level, Subscriber,
    span::{Attributes as SpanAttributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use super::{
    attributes::Attributes,
    entered,
    filter::{Open, Recorded},
};
use crate::redact::Redact;

/// Layer that makes spans of `tracing` part of the trace, where one is recorded.
#[derive(Debug, Clone, Default)]
pub struct Bridge {
    redact: Redact,
    open: Open,
}

/// What a span of `tracing` is in the trace.
struct Bridged(Span);

impl Bridge {
    /// That leaves the default fields out ([`Redact::default`]).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves these fields out.
    #[must_use]
    pub fn with_redact(mut self, redact: Redact) -> Self {
        self.redact = redact;
        self
    }

    /// A filter for [`Layer::with_filter`] that says no where nothing is recorded, else what `inner` says.
    #[must_use]
    pub fn filter<F>(&self, inner: F) -> Recorded<F> {
        Recorded { inner, open: self.open.clone() }
    }
}

/// What the span is in the trace.
fn bridged<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<Span> {
    span.extensions().get::<Bridged>().map(|Bridged(span)| span.clone())
}

/// What `id`, given as a parent, is in the trace, or the one that it is in.
fn given<S>(id: &Id, context: &Context<'_, S>) -> Option<Span>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    context.span_scope(id)?.find_map(|span| bridged(&span))
}

impl<S> Layer<S> for Bridge
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &SpanAttributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.is_root() {
            return;
        }
        let given = attributes.parent().and_then(|parent| given(parent, &context));
        let parent = given.unwrap_or_else(Span::current);
        if !parent.is_recording() {
            return;
        }
        let mut said = Attributes::default();
        attributes.record(&mut self.redact.visitor(&mut said));
        let name = said.name.take().map_or(Cow::Borrowed(attributes.metadata().name()), Cow::Owned);
        let span = parent.child_of_kind(said.kind, name);
        said.set_on(&span);
        if let Some(own) = context.span(id) {
            self.open.one_more();
            own.extensions_mut().insert(Bridged(span));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id).and_then(|own| bridged(&own)) {
            let mut said = Attributes::default();
            values.record(&mut self.redact.visitor(&mut said));
            said.set_on(&span);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let given = event.parent().and_then(|parent| given(parent, &context));
        let (span, is_ours) = match given {
            Some(span) => (span, true),
            None if event.is_root() => return,
            None => {
                let span = Span::current();
                let is_ours = span.trace().is_some_and(|trace| entered::is_innermost(trace.span_id()));
                (span, is_ours)
            }
        };
        if !span.is_open() {
            return;
        }
        let mut said = Attributes::default();
        event.record(&mut self.redact.visitor(&mut said));
        let metadata = event.metadata();
        let message = said.take("message").and_then(|value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        });
        let error = said.values.iter().find_map(|(name, value)| match (&**name, value) {
            ("error" | "err" | "exception.message", Value::Text(text)) => Some(text.clone()),
            _ => None,
        });
        if is_ours && *metadata.level() == Level::ERROR {
            span.fail(error.clone().or_else(|| message.clone()).unwrap_or_default());
        }
        // `#[instrument(err)]` says nothing but the error: the name is that of the semantic conventions.
        let name =
            message.unwrap_or_else(|| if error.is_some() { "exception" } else { metadata.name() }.into());
        let whence = [("level", metadata.level().as_str()), ("target", metadata.target())];
        let whence = whence.map(|(name, value)| (Cow::Borrowed(name), Value::from(value.to_owned())));
        span.event(name, whence.into_iter().chain(said.values));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id).and_then(|own| bridged(&own)) {
            entered::push(id, &span);
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if context.span(id).is_some_and(|own| own.extensions().get::<Bridged>().is_some()) {
            entered::pop(id);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let own = context.span(&id).and_then(|own| own.extensions_mut().remove::<Bridged>());
        if let Some(Bridged(span)) = own {
            self.open.one_less();
            span.end();
        }
    }
}
