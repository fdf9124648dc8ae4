//! Spans that go together in one request.

use std::{collections::HashMap, sync::Arc};

use mainstay_core::trace::SpanData;

use super::{message, protobuf::Writer};
use crate::resource::Resource;

/// Receivers refuse messages beyond 4 MiB, unless they are told otherwise. One span alone may be larger.
const BYTES: usize = 3 << 20;

/// The resource of each service of the process, as it is sent.
#[derive(Debug)]
pub(super) struct Resources {
    base: Resource,
    encoded: HashMap<Arc<str>, Arc<[u8]>>,
}

/// Spans of some services, already as they are sent.
#[derive(Debug, Default)]
pub(super) struct Batch {
    services: Vec<(Arc<str>, Writer)>,
    spans: usize,
    bytes: usize,
}

impl Resources {
    pub(super) fn new(base: Resource) -> Self {
        Self { base, encoded: HashMap::new() }
    }

    pub(super) fn of(&mut self, service: &Arc<str>) -> Arc<[u8]> {
        if let Some(known) = self.encoded.get(service) {
            return Arc::clone(known);
        }
        let mut to = Writer::default();
        message::resource(&mut to, &self.base.of_service(service));
        let encoded: Arc<[u8]> = to.into_bytes().into();
        self.encoded.insert(Arc::clone(service), Arc::clone(&encoded));
        encoded
    }
}

impl Batch {
    pub(super) fn put(&mut self, span: &SpanData) {
        let position = self.services.iter().position(|(own, _)| *own == span.service);
        let position = position.unwrap_or_else(|| {
            self.services.push((Arc::clone(&span.service), Writer::default()));
            self.services.len() - 1
        });
        if let Some((_, to)) = self.services.get_mut(position) {
            let before = to.len();
            // `ScopeSpans.spans`.
            to.message(2, |to| message::span(to, span));
            self.bytes += to.len() - before;
            self.spans += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.spans
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spans == 0
    }

    /// Whether it is as large as a receiver takes it.
    pub(super) fn is_heavy(&self) -> bool {
        self.bytes >= BYTES
    }

    /// `ExportTraceServiceRequest`.
    pub(super) fn encode(&self, resources: &mut Resources) -> Vec<u8> {
        let mut to = Writer::default();
        for (service, spans) in &self.services {
            to.message(1, |to| {
                to.message(1, |to| to.raw(&resources.of(service)));
                to.message(2, |to| {
                    to.message(1, message::scope);
                    to.raw(spans.as_bytes());
                });
                to.bytes(3, message::SCHEMA.as_bytes());
            });
        }
        to.into_bytes()
    }
}
