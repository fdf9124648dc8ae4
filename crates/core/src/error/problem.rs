//! `application/problem+json`, RFC 9457.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use serde::Serialize;

use super::{
    Error, Kind, Report, Violation,
    mapping::{Elapsed, Overloaded},
};
use crate::{Body, context::RequestContext};

/// The media type of RFC 9457.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The members of a problem document, in the order in which they are written.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for all problems of a type.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request; absent for faults of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// This occurrence: `urn:mainstay:request:{request id}`; the log line of the same request has that id.
    pub instance: String,
    /// The trace of the request, 32 hexadecimal digits.
    pub trace_id: String,
    /// The wrong fields of the input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
}

impl Problem {
    /// The URI that problem types start with.
    pub const TYPE_PREFIX: &'static str = "urn:mainstay:problem:";

    /// The problem that `error` is for the caller of the request in `context`.
    #[must_use]
    pub fn new(error: &Error, context: &RequestContext) -> Self {
        let kind = error.kind();
        Self {
            kind: format!("{}{}", Self::TYPE_PREFIX, kind.slug()),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: error.detail().filter(|_| kind.shows_detail()).map(str::to_owned),
            instance: format!("urn:mainstay:request:{}", context.request_id()),
            trace_id: context.trace().trace_id().to_string(),
            errors: error.violations().to_vec(),
        }
    }

    /// As a response.
    #[must_use]
    pub fn into_response(self, error: &Error) -> Response {
        super::answer::problem(&self, error).map(Body::new)
    }
}

impl Error {
    /// The answer for the request in `context`; logs what the caller is not shown.
    #[must_use]
    pub fn into_response_in(self, context: &RequestContext) -> Response {
        self.log();
        Problem::new(&self, context).into_response(&self)
    }

    /// One log line, with the chain of causes: faults of the service as errors, failures of what it depends on as
    /// warnings, the rest at debug level.
    pub(crate) fn log(&self) {
        let chain = self.source().map(|source| Report::new(source).to_string());
        let cause = chain.as_deref().unwrap_or("");
        let (kind, detail) = (self.kind().slug(), self.detail().unwrap_or(""));
        let context = RequestContext::current().unwrap_or_default();
        let (trace_id, request_id) = (context.trace().trace_id(), context.request_id());
        if matches!(self.kind(), Kind::Internal | Kind::BadGateway) {
            tracing::error!(kind, detail, cause, %trace_id, %request_id, "request failed");
        } else if self.depends() {
            tracing::warn!(kind, detail, cause, %trace_id, %request_id, "request failed");
        } else {
            tracing::debug!(kind, detail, cause, %trace_id, %request_id, "request refused");
        }
    }

    /// Whether something that the service needs has failed it. What the stack itself refuses under load or late is not
    /// that: a line for each would add to the load.
    fn depends(&self) -> bool {
        matches!(self.kind(), Kind::Unavailable | Kind::DeadlineExceeded)
            && self.source().is_some_and(|source| !source.is::<Overloaded>() && !source.is::<Elapsed>())
    }
}

/// problem+json, with the ids of the current request (contract ERR 1).
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.into_response_in(&RequestContext::current().unwrap_or_default())
    }
}
