//! Log records as messages of OTLP 1.x (`opentelemetry/proto/logs/v1/logs.proto`).

use std::{sync::Arc, time::SystemTime};

use mainstay_core::trace::Value;
use tracing::Level;

use super::message::{attribute, nanos};
use crate::protobuf::Writer;

/// A line, as it is sent.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) service: Arc<str>,
    pub(crate) scope: &'static str,
    pub(crate) at: SystemTime,
    pub(crate) level: Level,
    pub(crate) body: String,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) trace_id: Option<[u8; 16]>,
    pub(crate) span_id: Option<[u8; 8]>,
    pub(crate) is_sampled: bool,
}

impl Record {
    /// `LogRecord`.
    pub(super) fn write(&self, to: &mut Writer) {
        to.fixed64(1, nanos(self.at));
        to.uint(2, severity(self.level));
        to.bytes(3, self.level.as_str().as_bytes());
        to.message(5, |any| any.variant_bytes(1, self.body.as_bytes()));
        for (name, value) in &self.attributes {
            to.message(6, |pair| attribute(pair, name, value));
        }
        if self.is_sampled {
            to.fixed32(8, 1);
        }
        to.bytes(9, self.trace_id.as_ref().map_or(&[], |id| &id[..]));
        to.bytes(10, self.span_id.as_ref().map_or(&[], |id| &id[..]));
        to.fixed64(11, nanos(self.at));
    }
}

/// `SeverityNumber`.
fn severity(level: Level) -> u64 {
    match level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    }
}
