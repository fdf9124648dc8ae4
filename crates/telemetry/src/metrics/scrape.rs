//! The answer to a scrape.

use http::{HeaderMap, HeaderValue, Response, header};
use mainstay_core::{Body, metrics::Registry};

use super::text;
use crate::resource::Resource;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Prometheus 3 refuses what has no type, or another one.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything in `registry`, in the format that the scrape with these `headers` wants.
#[must_use]
pub fn answer(registry: &Registry, resource: &Resource, headers: &HeaderMap) -> Response<Body> {
    let metrics = registry.read();
    let (kind, text) = if wants_openmetrics(headers) {
        (OPENMETRICS, text::openmetrics(&metrics, resource))
    } else {
        (PROMETHEUS, text::prometheus(&metrics, resource))
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Whether OpenMetrics is named, and is not wanted less than plain text (RFC 9110 section 12.5.1).
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut openmetrics, mut plain) = (0.0_f32, 0.0_f32);
    for range in accept.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let (mut weight, mut known) = (1.0, true);
        for parameter in parts {
            match parameter.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
            {
                Some(("q", value)) => weight = value.parse().unwrap_or(0.0),
                Some(("version", value)) => known = matches!(value, "1.0.0" | "0.0.1" | "0.0.4"),
                _ => {}
            }
        }
        if name.eq_ignore_ascii_case("application/openmetrics-text") && known {
            openmetrics = openmetrics.max(weight);
        } else if name.eq_ignore_ascii_case("text/plain") && known {
            plain = plain.max(weight);
        }
    }
    openmetrics > 0.0 && openmetrics >= plain
}
