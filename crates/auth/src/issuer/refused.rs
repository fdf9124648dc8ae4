//! Answers to those who get nothing (RFC 6749 section 5.2, RFC 6750 section 3.1, OpenID Connect Core section 3.1.2.6).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// Why somebody gets nothing. What it says is ours: nothing of the request comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) error: &'static str,
    pub(super) description: &'static str,
}

impl Refused {
    const fn new(error: &'static str, description: &'static str) -> Self {
        Self { error, description }
    }

    pub(super) const fn request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    /// One answer, whatever it was: whoever asks does not learn which clients there are.
    pub(super) const fn client() -> Self {
        Self::new("invalid_client", "the client is not known, or did not prove to be it")
    }

    pub(super) const fn grant(description: &'static str) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(super) const fn unauthorized_client() -> Self {
        Self::new("unauthorized_client", "the client may not get tokens like this")
    }

    pub(super) const fn scope() -> Self {
        Self::new("invalid_scope", "the client may not ask for that, or it is malformed")
    }

    /// RFC 8707 section 2.
    pub(super) const fn target() -> Self {
        Self::new("invalid_target", "the client may not get tokens for that")
    }

    pub(super) const fn named(error: &'static str, description: &'static str) -> Self {
        Self::new(error, description)
    }

    pub(super) const fn unavailable() -> Self {
        Self::new("temporarily_unavailable", "try again later")
    }

    /// What is wrong is for the log.
    pub(super) fn broken(what: &str) -> Self {
        tracing::error!(what, "the identity provider failed");
        Self::new("server_error", "something failed here")
    }

    pub(super) fn status(self) -> StatusCode {
        match self.error {
            "invalid_client" | "invalid_token" => StatusCode::UNAUTHORIZED,
            "insufficient_scope" => StatusCode::FORBIDDEN,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        let mut answer = unstored((self.status(), axum::Json(body)).into_response());
        let challenge = match self.error {
            "invalid_client" => "Basic realm=\"clients\"",
            "invalid_token" => "Bearer error=\"invalid_token\"",
            "insufficient_scope" => "Bearer error=\"insufficient_scope\", scope=\"openid\"",
            _ => return answer,
        };
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        answer
    }
}

/// Nobody keeps what stands in `answer` (RFC 6749 section 5.1).
pub(super) fn unstored(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}
