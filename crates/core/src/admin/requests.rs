//! `/requests`.

use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::probe::wants_json;
use crate::observe::Report;

/// Tables for people; JSON for those who ask for it.
pub(super) fn answer(report: &Report, headers: &HeaderMap) -> Response {
    if wants_json(headers) { axum::Json(report).into_response() } else { report.to_string().into_response() }
}
