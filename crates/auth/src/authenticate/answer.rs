//! What is answered to who is not let in.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use mainstay_core::{
    context::RequestContext,
    error::{Error, Kind, Protocol},
};

use super::resource;
use crate::{Config, Refusal, Verifier};

/// When to come back where the keys of an issuer are not known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The challenges of RFC 6750 section 3, made once. One for all bad tokens: whoever tries some learns nothing.
#[derive(Debug)]
pub(crate) struct Challenges {
    /// What all of them begin with.
    start: String,
    anonymous: HeaderValue,
    malformed: HeaderValue,
    invalid: HeaderValue,
}

impl Challenges {
    pub(crate) fn new(config: &Config) -> Self {
        let of_issuers = config.issuers.values().flat_map(|issuer| &issuer.audience);
        // RFC 9110 section 11.5.
        let realm = config.audience.iter().chain(of_issuers).next().map_or("", String::as_str);
        let mut start = format!("Bearer realm=\"{}\"", quoted(realm));
        if let Some(url) = config.resource.as_deref().and_then(resource::url) {
            start.push_str(&format!(", resource_metadata=\"{}\"", quoted(&url.to_string())));
        }
        Self {
            anonymous: value(&start),
            malformed: value(&format!("{start}, error=\"invalid_request\"")),
            invalid: value(&format!("{start}, error=\"invalid_token\"")),
            start,
        }
    }

    fn of(&self, refusal: Refusal) -> HeaderValue {
        match refusal {
            // Section 3.1: without credentials no error.
            Refusal::NoCredentials => &self.anonymous,
            refusal if refusal.is_malformed() => &self.malformed,
            _ => &self.invalid,
        }
        .clone()
    }
}

/// The answer to who was not authenticated; the reason is logged and counted.
pub(crate) fn refused(verifier: &Verifier, refusal: Refusal, protocol: Protocol) -> Response<Full<Bytes>> {
    verifier.count(refusal);
    if refusal == Refusal::NoCredentials {
        tracing::debug!(reason = refusal.name(), "no token");
    } else if refusal.is_unavailable() {
        tracing::warn!(reason = refusal.name(), "a token can't be verified");
    } else {
        tracing::info!(reason = refusal.name(), "a token was refused");
    }
    let error = if refusal.is_unavailable() {
        Error::new(Kind::Unavailable).with_retry_after(RETRY_AFTER)
    } else if refusal.is_malformed() && !protocol.is_grpc() {
        Error::new(Kind::InvalidArgument)
            .with_detail("there is more than one token, or one in the query string")
    } else {
        Error::new(Kind::Unauthenticated)
    };
    let mut answer = error.answer(protocol, &RequestContext::current().unwrap_or_default());
    if !refusal.is_unavailable() {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, verifier.challenges().of(refusal));
    }
    debug_assert!(protocol.is_grpc() || answer.status() != StatusCode::OK);
    answer
}

/// The answer to who was authenticated and may not do this. `scopes` would be enough, where it is a matter of scopes.
pub(crate) fn denied(refusal: Refusal, scopes: Option<&str>, protocol: Protocol) -> Response<Full<Bytes>> {
    let context = RequestContext::current().unwrap_or_default();
    let verifier = context.ambient().get::<Verifier>();
    if let Some(verifier) = verifier {
        verifier.count(refusal);
    }
    let mut answer = Error::new(Kind::PermissionDenied).answer(protocol, &context);
    // A client that is told of scopes asks for another token. That would not help who lacks a role.
    if refusal == Refusal::InsufficientScope {
        let start = verifier.map_or("Bearer", |verifier| verifier.challenges().start.as_str());
        insufficient_scope(answer.headers_mut(), start, scopes);
    }
    answer
}

fn insufficient_scope(headers: &mut HeaderMap, start: &str, scopes: Option<&str>) {
    let separator = if start.contains(' ') { "," } else { "" };
    let mut text = format!("{start}{separator} error=\"insufficient_scope\"");
    if let Some(scopes) = scopes {
        text.push_str(&format!(", scope=\"{}\"", quoted(scopes)));
    }
    headers.insert(header::WWW_AUTHENTICATE, value(&text));
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
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
