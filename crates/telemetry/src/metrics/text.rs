//! The two text formats.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    time::UNIX_EPOCH,
};

use mainstay_core::metrics::{Buckets, Exemplar, Kind, Labels, Metric, Point};

use super::name::{family_name, label_name, unit_name};
use crate::resource::Resource;

/// Prometheus' text format, version 0.0.4.
#[must_use]
pub fn prometheus(metrics: &[Metric], resource: &Resource) -> String {
    write(metrics, resource, Format::Prometheus)
}

/// OpenMetrics 1.0, with exemplars.
#[must_use]
pub fn openmetrics(metrics: &[Metric], resource: &Resource) -> String {
    write(metrics, resource, Format::OpenMetrics)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Prometheus,
    OpenMetrics,
}

fn write(metrics: &[Metric], resource: &Resource, format: Format) -> String {
    let mut text = Text { to: String::with_capacity(16 * 1024), format };
    // Writing to a string can't fail.
    let _ = text.target(resource);
    for metric in metrics {
        let _ = text.metric(metric);
    }
    if format == Format::OpenMetrics {
        text.to.push_str("# EOF\n");
    }
    text.to
}

struct Text {
    to: String,
    format: Format,
}

impl Text {
    /// What the process is: once, for queries that join it.
    fn target(&mut self, resource: &Resource) -> fmt::Result {
        if resource.is_empty() {
            return Ok(());
        }
        let family = if self.format == Format::OpenMetrics { "target" } else { "target_info" };
        let kind = if self.format == Format::OpenMetrics { "info" } else { "gauge" };
        writeln!(self.to, "# HELP {family} What this process is.\n# TYPE {family} {kind}")?;
        self.to.push_str("target_info");
        self.labels(resource.iter(), None)?;
        self.to.push_str(" 1\n");
        Ok(())
    }

    fn metric(&mut self, metric: &Metric) -> fmt::Result {
        let mut family = family_name(&metric.name, &metric.unit, metric.kind);
        let total = if metric.kind == Kind::Counter { "_total" } else { "" };
        if self.format == Format::Prometheus {
            family.push_str(total);
        }
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            _ => "gauge",
        };
        let help = escaped(&metric.description, self.format == Format::OpenMetrics);
        writeln!(self.to, "# HELP {family} {help}\n# TYPE {family} {kind}")?;
        if self.format == Format::OpenMetrics
            && let Some(unit) = unit_name(&metric.unit, metric.kind)
        {
            writeln!(self.to, "# UNIT {family} {unit}")?;
        }
        let sample = if self.format == Format::OpenMetrics { total } else { "" };
        for series in &metric.series {
            match &series.point {
                Point::Counter(value) => self.line(&family, sample, &series.labels, value)?,
                Point::Number(value) => self.line(&family, sample, &series.labels, Number(*value))?,
                Point::Histogram(buckets) => self.histogram(&family, &series.labels, buckets)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn line(&mut self, family: &str, suffix: &str, labels: &Labels, value: impl fmt::Display) -> fmt::Result {
        self.to.push_str(family);
        self.to.push_str(suffix);
        self.labels(labels.iter(), None)?;
        writeln!(self.to, " {value}")
    }

    fn histogram(&mut self, family: &str, labels: &Labels, buckets: &Buckets) -> fmt::Result {
        let mut count = 0_u64;
        let bounds = buckets.bounds.iter().copied().chain([f64::INFINITY]);
        for (index, (bound, own)) in bounds.zip(&buckets.counts).enumerate() {
            count = count.wrapping_add(*own);
            write!(self.to, "{family}_bucket")?;
            self.labels(labels.iter(), Some(bound))?;
            write!(self.to, " {count}")?;
            if self.format == Format::OpenMetrics
                && let Some(Some(exemplar)) = buckets.exemplars.get(index)
            {
                self.exemplar(exemplar)?;
            }
            self.to.push('\n');
        }
        self.line(family, "_sum", labels, Number(buckets.sum))?;
        self.line(family, "_count", labels, count)
    }

    /// Its labels are at most 128 characters together, as OpenMetrics wants it: these are 63.
    fn exemplar(&mut self, exemplar: &Exemplar) -> fmt::Result {
        let Exemplar { value, at, trace_id, span_id, .. } = exemplar;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        write!(self.to, " # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {} {at:.3}", Number(*value))
    }

    fn labels<'n, 'v>(
        &mut self,
        labels: impl Iterator<Item = (&'n str, &'v str)>,
        bound: Option<f64>,
    ) -> fmt::Result {
        let mut before = '{';
        for (name, value) in labels {
            write!(self.to, "{before}{}=\"{}\"", label_name(name), escaped(value, true))?;
            before = ',';
        }
        if let Some(bound) = bound {
            write!(self.to, "{before}le=\"{}\"", Number(bound))?;
            before = ',';
        }
        if before == ',' {
            self.to.push('}');
        }
        Ok(())
    }
}

/// A bound as the label `le` has it.
pub(crate) fn le(bound: f64) -> String {
    Number(bound).to_string()
}

/// A number as both formats have it; whole ones with a point, as OpenMetrics wants bounds and Prometheus 3 makes them.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = *self;
        if number.is_nan() {
            f.write_str("NaN")
        } else if number.is_infinite() {
            f.write_str(if number > 0.0 { "+Inf" } else { "-Inf" })
        } else {
            write!(f, "{number:?}")
        }
    }
}

/// Quotes too, where they have a meaning.
fn escaped(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(text);
    }
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    Cow::Owned(if quotes { text.replace('"', "\\\"") } else { text })
}
