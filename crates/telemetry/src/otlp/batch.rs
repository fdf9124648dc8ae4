//! What goes together in one request.

use std::{collections::HashMap, sync::Arc};

use super::{item::Item, message};
use crate::{protobuf::Writer, resource::Resource};

/// Receivers refuse messages beyond 4 MiB, unless they are told otherwise. One item alone may be larger.
const BYTES: usize = 3 << 20;

/// The resource of each service of the process, as it is sent.
#[derive(Debug)]
pub(super) struct Resources {
    base: Resource,
    encoded: HashMap<Arc<str>, Arc<[u8]>>,
}

/// Spans or log records of some services, already as they are sent.
#[derive(Debug, Default)]
pub(super) struct Batch {
    scopes: Vec<Scope>,
    items: usize,
    bytes: usize,
}

/// Those of a service that one part of it made.
#[derive(Debug)]
struct Scope {
    service: Arc<str>,
    name: &'static str,
    items: Writer,
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
    pub(super) fn put(&mut self, item: &impl Item) {
        let (service, name) = (item.service(), item.scope());
        let position = self.scopes.iter().position(|scope| scope.name == name && scope.service == *service);
        let position = position.unwrap_or_else(|| {
            self.scopes.push(Scope { service: Arc::clone(service), name, items: Writer::default() });
            self.scopes.len() - 1
        });
        if let Some(Scope { items, .. }) = self.scopes.get_mut(position) {
            let before = items.len();
            // `ScopeSpans.spans`, `ScopeLogs.log_records`.
            items.message(2, |to| item.encode(to));
            self.bytes += items.len() - before;
            self.items += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Whether it is as large as a receiver takes it.
    pub(super) fn is_heavy(&self) -> bool {
        self.bytes >= BYTES
    }

    /// `ExportTraceServiceRequest` or `ExportLogsServiceRequest`: they differ within their innermost messages only.
    pub(super) fn encode(mut self, resources: &mut Resources) -> Vec<u8> {
        self.scopes.sort_by(|a, b| a.service.cmp(&b.service));
        let mut to = Writer::default();
        for scopes in self.scopes.chunk_by(|a, b| a.service == b.service) {
            let Some(first) = scopes.first() else { continue };
            to.message(1, |to| {
                to.message(1, |to| to.raw(&resources.of(&first.service)));
                for scope in scopes {
                    to.message(2, |to| {
                        to.message(1, |to| message::scope(to, scope.name));
                        to.raw(scope.items.as_bytes());
                    });
                }
                to.bytes(3, message::SCHEMA.as_bytes());
            });
        }
        to.into_bytes()
    }
}
