//! Names and units of OpenTelemetry as Prometheus has them ("Prometheus and OpenMetrics Compatibility" of its
//! specification).

use mainstay_core::metrics::Kind;

/// The name that Prometheus knows a metric by, with its unit and, for a counter, `_total`.
///
/// ```
/// use mainstay_core::metrics::Kind;
/// use mainstay_telemetry::metrics::prometheus_name;
///
/// let name = prometheus_name("http.server.request.duration", "s", Kind::Histogram);
/// assert_eq!(name, "http_server_request_duration_seconds");
/// ```
#[must_use]
pub fn prometheus_name(name: &str, unit: &str, kind: Kind) -> String {
    let mut family = family_name(name, unit, kind);
    if kind == Kind::Counter {
        family.push_str("_total");
    }
    family
}

/// The same without `_total`, as OpenMetrics calls the family.
pub(super) fn family_name(name: &str, unit: &str, kind: Kind) -> String {
    let mut family = label_name(name);
    if kind == Kind::Counter
        && let Some(bare) = family.strip_suffix("_total")
    {
        family.truncate(bare.len());
    }
    if let Some(unit) = unit_name(unit, kind)
        && !family.ends_with(&format!("_{unit}"))
    {
        family.push('_');
        family.push_str(unit);
    }
    family
}

/// A unit by its whole name; none for what is only an annotation, as `{request}`.
pub(super) fn unit_name(unit: &str, kind: Kind) -> Option<&'static str> {
    Some(match unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "%" => "percent",
        "1" if kind == Kind::Gauge => "ratio",
        _ => return None,
    })
}

/// What is no letter, digit or underscore becomes an underscore.
pub(crate) fn label_name(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(fits).collect()
}
