//! `/livez`, `/readyz`, `/startupz`.

use std::fmt::Write;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use serde_json::json;

use crate::health::{CheckReport, Kind, Registry, Report, State};

/// Answers at once, from what the checks said last.
pub(super) fn answer(registry: &Registry, kind: Kind, uri: &Uri, headers: &HeaderMap) -> Response {
    let report = registry.report(kind);
    let status = if report.passing { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if wants_json(headers) {
        return (status, axum::Json(to_json(&report))).into_response();
    }
    (status, if is_verbose(uri) { to_text(&report) } else { to_line(&report) }).into_response()
}

/// `?verbose`, also with a value and among others.
fn is_verbose(uri: &Uri) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    pairs.any(|pair| pair.split('=').next() == Some("verbose"))
}

pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let range = range.split(';').next().unwrap_or_default();
        range.trim().eq_ignore_ascii_case("application/json")
    })
}

fn to_line(report: &Report) -> String {
    if report.passing {
        return "ok\n".to_owned();
    }
    let failing: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| check.state != State::Passing && check.services.is_empty())
        .map(|check| check.name.as_str())
        .collect();
    match report.reason {
        Some(reason) => format!("not ok: {reason}\n"),
        None if failing.is_empty() => "not ok: starting\n".to_owned(),
        None => format!("not ok: {}\n", failing.join(", ")),
    }
}

fn to_text(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.checks {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{}", Line(check));
    }
    text + &to_line(report)
}

fn to_json(report: &Report) -> serde_json::Value {
    let checks = report.checks.iter().map(|check| {
        json!({
            "name": check.name,
            "state": check.state,
            "age_seconds": check.age.map(|age| age.as_secs_f64()),
            "error": check.error,
            "consecutive_failures": check.consecutive_failures,
            "services": check.services,
        })
    });
    json!({
        "status": if report.passing { "pass" } else { "fail" },
        "reason": report.reason,
        "checks": checks.collect::<Vec<_>>(),
    })
}

/// `[-] database: failing, 1.2s ago, 4 failures: connection refused`
struct Line<'a>(&'a CheckReport);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let check = self.0;
        let (sign, state) = match check.state {
            State::Passing => ('+', "passing"),
            State::Failing => ('-', "failing"),
            State::Pending => ('?', "pending"),
        };
        write!(f, "[{sign}] {}: {state}", check.name)?;
        if let Some(age) = check.age {
            write!(f, ", {:.1}s ago", age.as_secs_f64())?;
        }
        if check.consecutive_failures > 0 {
            write!(f, ", {} failures", check.consecutive_failures)?;
        }
        if !check.services.is_empty() {
            write!(f, ", for {}", check.services.join(" "))?;
        }
        if let Some(error) = &check.error {
            // One line a check, whatever a dependency's error says.
            write!(f, ": {}", error.replace(char::is_control, " "))?;
        }
        Ok(())
    }
}
