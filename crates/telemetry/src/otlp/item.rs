//! What is put into a queue and sent in batches.

use std::sync::Arc;

use mainstay_core::trace::SpanData;

use super::{
    config::Signal,
    message,
    record::Record,
    stats::{self, Names},
};
use crate::{protobuf::Writer, redact::Redact};

pub(super) trait Item: Send + Sync + 'static {
    const SIGNAL: Signal;
    const NAMES: &'static Names;

    /// The service that it is of.
    fn service(&self) -> &Arc<str>;

    /// The part of the program that made it.
    fn scope(&self) -> &'static str;

    /// About as many bytes as it holds in memory.
    fn weight(&self) -> usize;

    /// Leaves out what nobody is told.
    fn redact(&mut self, redact: &Redact);

    fn encode(&self, to: &mut Writer);
}

impl Item for SpanData {
    const SIGNAL: Signal = Signal::Spans;
    const NAMES: &'static Names = &stats::SPANS;

    fn service(&self) -> &Arc<str> {
        &self.service
    }

    fn scope(&self) -> &'static str {
        message::OURS
    }

    fn weight(&self) -> usize {
        message::weight(self)
    }

    fn redact(&mut self, redact: &Redact) {
        redact.span(self);
    }

    fn encode(&self, to: &mut Writer) {
        message::span(to, self);
    }
}

impl Item for Record {
    const SIGNAL: Signal = Signal::Logs;
    const NAMES: &'static Names = &stats::RECORDS;

    fn service(&self) -> &Arc<str> {
        &self.service
    }

    fn scope(&self) -> &'static str {
        self.scope
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.body.len() + message::attributes_weight(&self.attributes)
    }

    /// It was when it was made.
    fn redact(&mut self, _: &Redact) {}

    fn encode(&self, to: &mut Writer) {
        self.write(to);
    }
}
