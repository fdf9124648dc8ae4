//! What is asked for tokens, and what is believed of the answers.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::config::Target;
use crate::{
    client::{Endpoint, Failed},
    fetch::{Post, Reply, Url},
    json,
};

/// How long a token is good whose lifetime the issuer does not tell (RFC 6749 section 5.1 only recommends it).
const UNTOLD: Duration = Duration::from_secs(300);
/// No token is used for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Longer ones are not taken: no server takes such a header field.
const LONGEST_TOKEN: usize = 16 << 10;

/// A token that was issued. Not shown.
#[derive(Clone)]
pub(super) struct Issued {
    /// As it is shown to the callee.
    pub(super) authorization: HeaderValue,
    /// Counted from when it was asked for.
    pub(super) lifetime: Duration,
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

/// Asks `endpoint` for a token by these parameters.
pub(super) async fn token<P: Post>(
    endpoint: &Endpoint<P>,
    parameters: &[(&str, &str)],
) -> Result<Issued, Failed> {
    let (url, reply) = endpoint.ask(parameters).await?;
    read(&url, &reply)
}

/// RFC 6749 sections 5.1 and 5.2.
fn read(url: &Url, reply: &Reply) -> Result<Issued, Failed> {
    if reply.status != StatusCode::OK {
        return Err(Failed::refused(url, reply));
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
