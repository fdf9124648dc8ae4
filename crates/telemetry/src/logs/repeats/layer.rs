use std::sync::Arc;

use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{Repeats, Verdict};

/// Has another layer take the events that are not left out.
pub(in crate::logs) struct Sampled<L> {
    inner: L,
    repeats: Option<Arc<Repeats>>,
}

impl<L> Sampled<L> {
    pub(in crate::logs) fn new(inner: L, repeats: Option<Arc<Repeats>>) -> Self {
        Self { inner, repeats }
    }
}

impl<S, L> Layer<S> for Sampled<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_layer(&mut self, subscriber: &mut S) {
        self.inner.on_layer(subscriber);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.inner.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.inner.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(repeats) = &self.repeats {
            match repeats.judge(event) {
                Verdict::LeaveOut => return,
                Verdict::Write(None) => {}
                Verdict::Write(Some(over)) => {
                    repeats.tell(&over, |told| self.inner.on_event(told, context.clone()));
                }
            }
        }
        self.inner.on_event(event, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.inner.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.inner.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.inner.on_close(id, context);
    }
}
