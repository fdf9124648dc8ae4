//! What is answered to who is not let in.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use mainstay_core::{
    context::RequestContext,
    error::{Error, Kind, Protocol},
};

use crate::{Refusal, Verifier};

/// When to come back where the keys of an issuer are not known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The answer; the reason is logged.
pub(super) fn refused(verifier: &Verifier, refusal: Refusal, protocol: Protocol) -> Response<Full<Bytes>> {
    if refusal == Refusal::NoCredentials {
        tracing::debug!(reason = refusal.name(), "no token");
    } else if refusal.is_unavailable() {
        tracing::warn!(reason = refusal.name(), "a token can't be verified");
    } else {
        tracing::info!(reason = refusal.name(), "a token was refused");
    }
    let error = if refusal.is_unavailable() {
        Error::new(Kind::Unavailable).with_retry_after(RETRY_AFTER)
    } else if is_malformed(refusal) && !protocol.is_grpc() {
        Error::new(Kind::InvalidArgument)
            .with_detail("there is more than one token, or one in the query string")
    } else {
        Error::new(Kind::Unauthenticated)
    };
    let mut answer = error.answer(protocol, &RequestContext::current().unwrap_or_default());
    if !refusal.is_unavailable() {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge(verifier, refusal));
    }
    debug_assert!(protocol.is_grpc() || answer.status() != StatusCode::OK);
    answer
}

/// RFC 6750 section 3. One for all bad tokens: whoever tries some learns nothing.
pub(super) fn challenge(verifier: &Verifier, refusal: Refusal) -> HeaderValue {
    let error = match refusal {
        // Section 3.1: without credentials no error.
        Refusal::NoCredentials => "",
        refusal if is_malformed(refusal) => r#", error="invalid_request""#,
        _ => r#", error="invalid_token""#,
    };
    let text = format!("Bearer realm=\"{}\"{error}", quoted(verifier.realm()));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// The request is wrong, whatever its token is (RFC 6750 section 3.1, `invalid_request`).
fn is_malformed(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::SeveralCredentials | Refusal::TokenInQuery)
}

/// The content of a quoted-string (RFC 9110 section 5.6.4); what can't stand in one is left out.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}
