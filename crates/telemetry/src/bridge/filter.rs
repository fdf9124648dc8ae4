use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use mainstay_core::trace::Span;
use tracing::{Metadata, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

/// How many spans of `tracing` are open that are recorded.
#[derive(Debug, Clone, Default)]
pub(super) struct Open(Arc<AtomicUsize>);

impl Open {
    pub(super) fn one_more(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn one_less(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// One of them can be a parent by `parent:`, also where nothing is recorded.
    fn is_any(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

/// Lets through what another filter does, where something is recorded ([`Bridge::filter`](super::Bridge::filter)).
#[derive(Debug, Clone)]
pub struct Recorded<F> {
    pub(super) inner: F,
    pub(super) open: Open,
}

impl<S, F: Filter<S>> Filter<S> for Recorded<F> {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        (self.open.is_any() || Span::is_current_recording()) && self.inner.enabled(metadata, context)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        let interest = self.inner.callsite_enabled(metadata);
        // Asked each time: it depends on the request.
        if interest.is_never() { interest } else { Interest::sometimes() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.inner.max_level_hint()
    }

    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        id: &tracing::span::Id,
        context: Context<'_, S>,
    ) {
        self.inner.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &tracing::span::Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        self.inner.on_record(id, values, context);
    }

    fn on_enter(&self, id: &tracing::span::Id, context: Context<'_, S>) {
        self.inner.on_enter(id, context);
    }

    fn on_exit(&self, id: &tracing::span::Id, context: Context<'_, S>) {
        self.inner.on_exit(id, context);
    }

    fn on_close(&self, id: tracing::span::Id, context: Context<'_, S>) {
        self.inner.on_close(id, context);
    }
}
