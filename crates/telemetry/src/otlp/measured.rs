//! Metrics as messages of OTLP 1.x (`opentelemetry/proto/metrics/v1/metrics.proto`), cumulative.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use mainstay_core::metrics::{Buckets, Exemplar, Kind, Labels, Metric, Point, Series};

use super::{
    batch::Resources,
    message::{self, nanos, text_pair},
};
use crate::protobuf::Writer;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// The label by which the services of one process are told apart: as a resource of its own here.
const SERVICE: &str = "service.name";

/// Receivers refuse messages beyond 4 MiB, unless they are told otherwise. With this a request is closed: one metric
/// of one service, whose series are bounded, is all that comes on top.
const BYTES: usize = 2 << 20;

/// From when to when it was counted.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) since: SystemTime,
    pub(super) until: SystemTime,
}

/// One `ExportMetricsServiceRequest`, or several where one is too large. What belongs to no service goes with the
/// resource of `process`.
pub(super) fn encode(
    metrics: &[Metric],
    span: Span,
    process: &Arc<str>,
    resources: &mut Resources,
) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let mut services: BTreeMap<Arc<str>, Writer> = BTreeMap::new();
    let mut bytes = 0;
    for metric in metrics {
        let mut of_service: BTreeMap<&str, Vec<&Series>> = BTreeMap::new();
        for series in &metric.series {
            of_service.entry(series.labels.get(SERVICE).unwrap_or(process)).or_default().push(series);
        }
        for (service, series) in of_service {
            let to = match services.get_mut(service) {
                Some(to) => to,
                None => services.entry(service.into()).or_default(),
            };
            let before = to.len();
            // `ScopeMetrics.metrics`.
            to.message(2, |to| encode_metric(to, metric, &series, span));
            bytes += to.len() - before;
            if bytes >= BYTES {
                requests.push(request(&std::mem::take(&mut services), resources));
                bytes = 0;
            }
        }
    }
    if !services.is_empty() {
        requests.push(request(&services, resources));
    }
    requests
}

fn request(services: &BTreeMap<Arc<str>, Writer>, resources: &mut Resources) -> Vec<u8> {
    let mut to = Writer::default();
    for (service, metrics) in services {
        to.message(1, |to| {
            to.message(1, |to| to.raw(&resources.of(service)));
            to.message(2, |to| {
                to.message(1, |to| message::scope(to, message::OURS));
                to.raw(metrics.as_bytes());
            });
            to.bytes(3, message::SCHEMA.as_bytes());
        });
    }
    to.into_bytes()
}

/// `Metric`.
fn encode_metric(to: &mut Writer, metric: &Metric, series: &[&Series], span: Span) {
    to.bytes(1, metric.name.as_bytes());
    to.bytes(2, metric.description.as_bytes());
    to.bytes(3, metric.unit.as_bytes());
    let points = |to: &mut Writer| {
        for series in series {
            to.message(1, |to| match &series.point {
                Point::Histogram(buckets) => histogram(to, &series.labels, buckets, span),
                Point::Counter(value) => {
                    number(to, &series.labels, metric.kind, span);
                    to.fixed64(6, *value);
                }
                Point::Number(value) => {
                    number(to, &series.labels, metric.kind, span);
                    to.double(4, *value);
                }
                _ => {}
            });
        }
    };
    match metric.kind {
        Kind::Gauge => to.message(5, points),
        Kind::Histogram => to.message(9, |to| {
            points(to);
            to.uint(2, CUMULATIVE);
        }),
        kind => to.message(7, |to| {
            points(to);
            to.uint(2, CUMULATIVE);
            to.uint(3, u64::from(kind == Kind::Counter));
        }),
    }
}

/// What all points but histograms have. A gauge began never.
fn number(to: &mut Writer, labels: &Labels, kind: Kind, span: Span) {
    if kind != Kind::Gauge {
        to.fixed64(2, nanos(span.since));
    }
    to.fixed64(3, nanos(span.until));
    attributes(to, 7, labels);
}

fn histogram(to: &mut Writer, labels: &Labels, buckets: &Buckets, span: Span) {
    to.fixed64(2, nanos(span.since));
    to.fixed64(3, nanos(span.until));
    to.fixed64(4, buckets.count());
    to.double(5, buckets.sum);
    packed(to, 6, buckets.counts.iter().copied());
    packed(to, 7, buckets.bounds.iter().map(|bound| bound.to_bits()));
    for exemplar in buckets.exemplars.iter().flatten() {
        to.message(8, |to| encode_exemplar(to, exemplar));
    }
    attributes(to, 9, labels);
}

fn encode_exemplar(to: &mut Writer, exemplar: &Exemplar) {
    to.fixed64(2, nanos(exemplar.at));
    to.double(3, exemplar.value);
    to.bytes(4, &exemplar.span_id.to_bytes());
    to.bytes(5, &exemplar.trace_id.to_bytes());
}

fn attributes(to: &mut Writer, field: u32, labels: &Labels) {
    // That is the resource.
    for (name, value) in labels.iter().filter(|(name, _)| *name != SERVICE) {
        to.message(field, |to| text_pair(to, name, value));
    }
}

fn packed(to: &mut Writer, field: u32, values: impl Iterator<Item = u64>) {
    let bytes: Vec<u8> = values.flat_map(u64::to_le_bytes).collect();
    to.bytes(field, &bytes);
}
