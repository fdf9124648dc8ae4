//! A code for tokens (RFC 6749 section 4.1.3), with the verifier of its challenge (RFC 7636 section 4.6).

use super::{made::Answer, refresh};
use crate::issuer::{
    Grant, Provider,
    authorize::Code,
    client::Client,
    form::Form,
    refused::Refused,
    secret,
    store::{Found, Kind},
};

const UNKNOWN: Refused = Refused::grant("the code is not known, was used, or is another client's");

pub(super) async fn answer(provider: &Provider, client: &Client, form: &Form) -> Result<Answer, Refused> {
    let text = form.required("code", "code is missing")?;
    let verifier = form.required("code_verifier", "code_verifier is missing: PKCE is required")?;
    let redirect_uri = form.required("redirect_uri", "redirect_uri is missing")?;
    let (name, now, store) = (secret::hashed(text), provider.now(), provider.store());
    let found: Found<Code> = store.get(Kind::Code, &name, now).await?.ok_or(UNKNOWN)?;
    let code = &found.value;
    if code.granted.client != client.id {
        tracing::warn!(client = client.id, "a client has the code of another one");
        return Err(UNKNOWN);
    }
    if let Some(grant) = &code.used {
        // RFC 9700 section 2.1.1: one of two that have it is not the client.
        tracing::warn!(client = client.id, "a code was used twice: what it was used for ends");
        store.remove(Kind::Grant, grant).await?;
        return Err(UNKNOWN);
    }
    let is_verifier =
        (43..=128).contains(&verifier.len()) && secret::is_same(&secret::hashed(verifier), &code.challenge);
    if now >= code.until || redirect_uri != code.redirect_uri || !is_verifier {
        store.remove(Kind::Code, &name).await?;
        return Err(Refused::grant(
            "the code has ended, or redirect_uri or code_verifier are not those that belong to it",
        ));
    }
    // The grant is there before the code says that it is, so that whoever uses the code again finds it.
    let grant = secret::random()?;
    let is_for_long = client.config.may(Grant::RefreshToken)
        && code.granted.scopes.iter().any(|scope| scope == "offline_access");
    let until =
        if is_for_long { provider.refreshable_until() } else { now + provider.0.config.token.as_secs() };
    store.insert(Kind::Grant, &grant, &code.granted, until, now).await?;
    let used = Code { used: Some(grant.clone()), ..code.clone() };
    if !store.swap(Kind::Code, &name, &found, &used).await? {
        store.remove(Kind::Grant, &grant).await?;
        let other = store.get::<Code>(Kind::Code, &name, now).await?.and_then(|other| other.value.used);
        if let Some(other) = other {
            store.remove(Kind::Grant, &other).await?;
        }
        return Err(UNKNOWN);
    }
    let mut answer = provider.for_user(client, &grant, &code.granted, code.nonce.as_deref()).await?;
    if is_for_long {
        answer.refresh_token = Some(refresh::issue(provider, &grant).await?);
    }
    Ok(answer)
}
