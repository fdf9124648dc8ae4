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

/// A challenge for each kind of credential that is taken (RFC 9110 section 11.6.1), made once. One for all bad ones of a kind:
/// whoever tries some learns nothing.
#[derive(Debug)]
pub(crate) struct Challenges(Vec<Challenge>);

/// What one scheme answers, to whom.
#[derive(Debug)]
struct Challenge {
    scheme: Scheme,
    /// What all of it begins with.
    start: String,
    bare: HeaderValue,
    malformed: HeaderValue,
    invalid: HeaderValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// RFC 6750 section 3.
    Bearer,
    /// No registered one: the word that others have for it too, and the header field where it is not `Authorization`.
    ApiKey,
}

impl Challenges {
    pub(crate) fn new(config: &Config) -> Self {
        let of_issuers = config.issuers.values().flat_map(|issuer| &issuer.audience);
        // RFC 9110 section 11.5.
        let realm = config.audience.iter().chain(of_issuers).next().map_or("", String::as_str);
        let realm = format!("realm=\"{}\"", quoted(realm));
        let mut all = Vec::new();
        // Where there are certificates alone no scheme helps, and a 401 has to have one (RFC 9110 section 15.5.2).
        if !config.issuers.is_empty() || config.api_keys.is_empty() {
            let mut start = format!("Bearer {realm}");
            if let Some(url) = config.resource.as_deref().and_then(resource::url) {
                start.push_str(&format!(", resource_metadata=\"{}\"", quoted(&url.to_string())));
            }
            all.push(Challenge::new(Scheme::Bearer, start));
        }
        if !config.api_keys.is_empty() {
            let field = &config.api_keys.header;
            let mut start = format!("ApiKey {realm}");
            if !field.eq_ignore_ascii_case(header::AUTHORIZATION.as_str()) {
                start.push_str(&format!(", header=\"{}\"", quoted(field)));
            }
            all.push(Challenge::new(Scheme::ApiKey, start));
        }
        Self(all)
    }

    fn write(&self, refusal: Refusal, headers: &mut HeaderMap) {
        for challenge in &self.0 {
            headers.append(header::WWW_AUTHENTICATE, challenge.of(refusal).clone());
        }
    }

    /// What the first of them begins with.
    fn start(&self) -> &str {
        self.0.first().map_or("Bearer", |challenge| &challenge.start)
    }
}

impl Challenge {
    fn new(scheme: Scheme, start: String) -> Self {
        let invalid = match scheme {
            Scheme::Bearer => "invalid_token",
            Scheme::ApiKey => "invalid_key",
        };
        Self {
            scheme,
            bare: value(&start),
            malformed: value(&format!("{start}, error=\"invalid_request\"")),
            invalid: value(&format!("{start}, error=\"{invalid}\"")),
            start,
        }
    }

    /// RFC 6750 section 3.1: without credentials, of this kind, no error.
    fn of(&self, refusal: Refusal) -> &HeaderValue {
        let shown = match refusal {
            Refusal::NoCredentials => None,
            refusal if refusal.is_malformed() => return &self.malformed,
            Refusal::UnknownApiKey | Refusal::ExpiredApiKey => Some(Scheme::ApiKey),
            _ => Some(Scheme::Bearer),
        };
        if shown == Some(self.scheme) { &self.invalid } else { &self.bare }
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
        verifier.challenges().write(refusal, answer.headers_mut());
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
        let start = verifier.map_or("Bearer", |verifier| verifier.challenges().start());
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
