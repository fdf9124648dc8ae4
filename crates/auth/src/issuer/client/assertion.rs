//! Clients that sign their requests (`private_key_jwt`; RFC 7523 section 3, OpenID Connect Core section 9).

use std::sync::Arc;

use serde_json::Value;

use super::{Client, Proof};
use crate::{
    issuer::{Provider, refused::Refused, secret, store::Kind},
    token::Token,
};

const LONGEST: usize = 8 << 10;
/// How far ahead an assertion may end, in seconds: so long its id is remembered.
const LASTING: f64 = 600.0;
/// How far the clock of a client may be wrong, in seconds.
const LEEWAY: f64 = 30.0;

pub(super) async fn check(
    provider: &Provider,
    id: Option<&str>,
    assertion: &str,
) -> Result<Arc<Client>, Refused> {
    let token =
        Token::parse(assertion).ok().filter(|_| assertion.len() <= LONGEST).ok_or(Refused::client())?;
    let client = provider.client(&token.claims.issuer).await?.ok_or(Refused::client())?;
    let (used, expires) = read(provider, &client, &token).ok_or(Refused::client())?;
    if id.is_some_and(|id| id != client.id) {
        return Err(Refused::client());
    }
    let until = (expires + LEEWAY).ceil() as u64;
    // Hashed, since names of records are short. One that was seen is somebody else's, or a copy.
    let name = secret::hashed(&format!("{} {used}", client.id));
    if provider.store().insert(Kind::Assertion, &name, &(), until, provider.now()).await? {
        Ok(client)
    } else {
        tracing::warn!(client = client.id, "the assertion of a client was used before");
        Err(Refused::client())
    }
}

/// Its id and its end, if it is good.
fn read(provider: &Provider, client: &Client, token: &Token<'_>) -> Option<(String, f64)> {
    let claims = &token.claims;
    let Proof::Keys(keys) = &client.proof else { return None };
    if claims.subject.as_deref() != Some(client.id.as_str()) {
        return None;
    }
    // Of one audience, or another provider could use it here.
    let [audience] = claims.audience.as_slice() else { return None };
    let is_ours = audience == provider.issuer() || *audience == provider.endpoint("/token");
    let now = provider.now() as f64;
    let expires = claims.expires?;
    let is_current = now < expires + LEEWAY
        && expires <= now + LASTING + LEEWAY
        && claims.not_before.is_none_or(|begin| begin <= now + LEEWAY)
        && claims.issued_at.is_none_or(|issued| issued <= now + LEEWAY);
    // An access token that the client has is not its word.
    let is_for_this =
        token.header.kind.as_deref().is_none_or(|kind| matches!(kind, "jwt" | "client-authentication+jwt"));
    if !is_ours || !is_current || !is_for_this {
        return None;
    }
    let found = keys.find(token.header.key_id.as_deref(), token.header.algorithm).ok()?;
    let is_signed = found.into_iter().any(|key| key.has_signed(token.signed, &token.signature));
    let used = claims.all.get("jti").and_then(Value::as_str)?.to_owned();
    is_signed.then_some((used, expires))
}
