//! Where tokens are asked for, and what is believed of the answers.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderValue, StatusCode};
use mainstay_core::{
    config::Secret,
    error::{Kind, mapping::Classified},
};
use serde_json::{Map, Value};

use super::{
    assertion::{self, Signer},
    config::{Registration, Target},
};
use crate::{
    clock::Clock,
    fetch::{self, Failure, Post, Reply, Url},
    json,
};

/// How long a token is good whose lifetime the issuer does not tell (RFC 6749 section 5.1 only recommends it).
const UNTOLD: Duration = Duration::from_secs(300);
/// No token is used for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Longer ones are not taken: no server takes such a header field.
const LONGEST_TOKEN: usize = 16 << 10;

/// Where a client asks for tokens.
pub(super) struct Endpoint<P> {
    fetch: P,
    place: Place,
    allow_http: bool,
    client: String,
    proof: Proof,
    clock: Clock,
}

enum Place {
    Known(Arc<Url>),
    /// Where the issuer is, what it is called byte for byte, and where its metadata said that tokens are.
    Discovered(Url, String, ArcSwapOption<Url>),
}

/// What the client proves itself with.
enum Proof {
    /// The value of `Authorization`.
    Secret(HeaderValue),
    Key {
        file: PathBuf,
        id: Option<String>,
        audience: String,
    },
}

/// A token that was issued. Not shown.
#[derive(Clone)]
pub(super) struct Issued {
    /// As it is shown to the callee.
    pub(super) authorization: HeaderValue,
    /// Counted from when it was asked for.
    pub(super) lifetime: Duration,
}

/// Why there is no token. Cheap to clone: many may wait for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) kind: Kind,
    text: Arc<str>,
}

impl Failed {
    pub(super) fn new(kind: Kind, text: impl fmt::Display) -> Self {
        Self { kind, text: text.to_string().into() }
    }

    pub(super) fn unavailable(text: impl fmt::Display) -> Self {
        Self::new(Kind::Unavailable, text)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failed {}

impl From<Failed> for Classified {
    fn from(failed: Failed) -> Self {
        Self::new(failed.kind, failed)
    }
}

impl From<Failure> for Failed {
    fn from(Failure(text): Failure) -> Self {
        Self::unavailable(text)
    }
}

impl<P: Post> Endpoint<P> {
    pub(super) fn new(registration: &Registration, fetch: P, clock: Clock) -> Result<Self, &'static str> {
        let place = match (&registration.token_endpoint, &registration.issuer) {
            (Some(url), _) => Place::Known(Arc::new(Url::parse(url).ok_or("token_endpoint")?)),
            (None, Some(issuer)) => {
                let url = Url::parse(issuer).ok_or("issuer")?;
                Place::Discovered(url, issuer.clone(), ArcSwapOption::empty())
            }
            (None, None) => return Err("issuer"),
        };
        let client = registration.client_id.clone();
        let proof = match (&registration.client_secret, &registration.private_key_file) {
            (Some(secret), _) => Proof::Secret(basic(&client, secret).ok_or("client_secret")?),
            (None, Some(file)) => {
                // The issuer is who reads it (RFC 7523 section 3); one that is not named is known by its endpoint.
                let audience = registration.issuer.clone().or(registration.token_endpoint.clone());
                let (file, id) = (file.clone(), registration.key_id.clone());
                Proof::Key { file, id, audience: audience.unwrap_or_default() }
            }
            (None, None) => return Err("client_secret"),
        };
        Ok(Self { fetch, place, allow_http: registration.allow_http, client, proof, clock })
    }

    /// Asks for a token by these parameters. Bounded by what fetches.
    pub(super) async fn token(&self, parameters: &[(&str, &str)]) -> Result<Issued, Failed> {
        let assertion;
        let mut proof = Vec::new();
        let authorization = match &self.proof {
            Proof::Secret(basic) => Some(basic),
            Proof::Key { file, id, audience } => {
                assertion = self.assertion(file.clone(), id.clone(), audience.clone()).await?;
                proof.push(("client_id", self.client.as_str()));
                proof.push(("client_assertion_type", assertion::TYPE));
                proof.push(("client_assertion", assertion.as_str()));
                None
            }
        };
        let form = Serializer::new(String::new()).extend_pairs(parameters).extend_pairs(&proof).finish();
        let url = self.url().await?;
        match self.fetch.post(&url, authorization, form).await {
            Ok(reply) => read(&url, &reply),
            Err(failure) => {
                // The next time it may be somewhere else.
                if let Place::Discovered(_, _, found) = &self.place {
                    found.store(None);
                }
                Err(failure.into())
            }
        }
    }

    async fn assertion(&self, file: PathBuf, id: Option<String>, audience: String) -> Result<String, Failed> {
        let (client, now) = (self.client.clone(), self.clock.now().as_secs());
        let made = tokio::task::spawn_blocking(move || {
            Signer::read(&file)
                .and_then(|signer| signer.assertion(id.as_deref(), &client, &audience, now))
                .map_err(|what| format!("private_key_file {}: {what}", file.display()))
        });
        made.await.map_err(Failed::unavailable)?.map_err(Failed::unavailable)
    }

    async fn url(&self) -> Result<Arc<Url>, Failed> {
        let (at, issuer, found) = match &self.place {
            Place::Known(url) => return Ok(url.clone()),
            Place::Discovered(at, issuer, found) => (at, issuer, found),
        };
        if let Some(url) = found.load_full() {
            return Ok(url);
        }
        let url = fetch::endpoint(&self.fetch, at, issuer, "token_endpoint", self.allow_http).await?;
        let url = Arc::new(url);
        found.store(Some(url.clone()));
        Ok(url)
    }
}

/// Parameters that say what a token is for.
pub(super) type Wanted = Vec<(&'static str, String)>;

/// What is asked of every token for `target`.
pub(super) fn wanted(target: &Target) -> Wanted {
    let mut wanted = Vec::new();
    wanted.extend(target.audience.clone().map(|audience| ("audience", audience)));
    wanted.extend(target.resource.clone().map(|resource| ("resource", resource)));
    if !target.scopes.is_empty() {
        wanted.push(("scope", target.scopes.join(" ")));
    }
    wanted
}

/// RFC 6749 section 2.3.1: each encoded as in a form first.
fn basic(client: &str, secret: &Secret) -> Option<HeaderValue> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client), encoded(secret.expose()));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// RFC 6749 sections 5.1 and 5.2.
fn read(url: &Url, reply: &Reply) -> Result<Issued, Failed> {
    if reply.status != StatusCode::OK {
        return Err(refused(url, reply));
    }
    let unusable = |what: &str| Failed::unavailable(format_args!("{url}: the answer {what}"));
    let answer = json::object(&reply.body).map_err(|_| unusable("is not a JSON object, each name once"))?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let token = text("access_token").filter(|token| is_token(token));
    let token = token.ok_or_else(|| unusable("has no `access_token` that a header field can hold"))?;
    // Others, such as DPoP, need a proof with each call.
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(unusable("has a `token_type` other than Bearer"));
    }
    // RFC 8693 section 3: an ID token or a refresh token is nothing to show to a service.
    let kinds = [None, Some("access_token"), Some("jwt")];
    let kind = text("issued_token_type");
    if !kinds
        .contains(&kind.map(|kind| kind.strip_prefix("urn:ietf:params:oauth:token-type:").unwrap_or(kind)))
    {
        return Err(unusable("has another kind of token than an access token"));
    }
    let mut authorization =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| unusable("has no usable token"))?;
    authorization.set_sensitive(true);
    let lifetime =
        lifetime(&answer).ok_or_else(|| unusable("has an `expires_in` that is no time to come"))?;
    Ok(Issued { authorization, lifetime })
}

/// RFC 6750 section 2.1, `b64token`.
fn is_token(token: &str) -> bool {
    let is_good = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
    };
    !token.is_empty() && token.len() <= LONGEST_TOKEN && token.bytes().all(is_good)
}

fn lifetime(answer: &Map<String, Value>) -> Option<Duration> {
    let seconds = match answer.get("expires_in") {
        None | Some(Value::Null) => return Some(UNTOLD),
        Some(Value::Number(seconds)) => seconds.as_f64()?,
        // Some issuers write the number as a text.
        Some(Value::String(seconds)) => seconds.parse::<u32>().ok()?.into(),
        Some(_) => return None,
    };
    (seconds >= 1.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

/// What went wrong, of which the caller of this process can be told only whether it is its own fault.
fn refused(url: &Url, reply: &Reply) -> Failed {
    let answer = json::object(&reply.body).unwrap_or_default();
    let text = |name: &str| {
        let text = answer.get(name).and_then(Value::as_str).unwrap_or_default();
        // It stands in logs.
        text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(200).collect::<String>()
    };
    let (code, status) = (text("error"), reply.status);
    // About what was handed in rather than about who asks: RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 8707 section 2.
    let is_about_grant = status.is_client_error()
        && matches!(code.as_str(), "invalid_grant" | "invalid_request" | "invalid_target" | "access_denied");
    let kind = if is_about_grant { Kind::PermissionDenied } else { Kind::Unavailable };
    Failed::new(kind, format_args!("{url}: the answer is {status} {code} {}", text("error_description")))
}
