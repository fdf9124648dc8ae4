//! New tokens for a refresh token (RFC 6749 section 6), which is good once: whoever uses one again ends all that came from the
//! same login (RFC 9700 section 4.14.2).

use serde::{Deserialize, Serialize};

use super::{limits, made::Answer};
use crate::issuer::{
    Provider,
    authorize::Granted,
    client::Client,
    form::Form,
    refused::Refused,
    secret,
    store::{Found, Kind},
};

/// What a refresh token is, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::issuer) struct Refresh {
    pub(in crate::issuer) grant: String,
    pub(in crate::issuer) used: bool,
}

const UNKNOWN: Refused =
    Refused::grant("the refresh token is not known, was used, revoked, or is another client's");

pub(super) async fn answer(provider: &Provider, client: &Client, form: &Form) -> Result<Answer, Refused> {
    let text = form.required("refresh_token", "refresh_token is missing")?;
    let (name, now, store) = (secret::hashed(text), provider.now(), provider.store());
    let found: Found<Refresh> = store.get(Kind::Refresh, &name, now).await?.ok_or(UNKNOWN)?;
    let grant = &found.value.grant;
    let granted: Found<Granted> = store.get(Kind::Grant, grant, now).await?.ok_or(UNKNOWN)?;
    let mut granted = granted.value;
    if granted.client != client.id {
        tracing::warn!(client = client.id, "a client has the refresh token of another one");
        return Err(UNKNOWN);
    }
    if found.value.used {
        tracing::warn!(client = client.id, "a refresh token was used twice: all of its login end");
        store.remove(Kind::Grant, grant).await?;
        return Err(UNKNOWN);
    }
    // What is asked for wrongly costs nothing; what was granted stays so for the next time.
    let all = granted.scopes.clone();
    granted.scopes = limits::scopes(form, |scope| all.iter().any(|has| has == scope), || all.iter())?;
    let asks_for_audience = form.all("resource").chain(form.all("audience")).next().is_some();
    if asks_for_audience {
        granted.audiences = limits::audiences(form, &granted.audiences)?;
    }
    let used = Refresh { used: true, ..found.value.clone() };
    if !store.swap(Kind::Refresh, &name, &found, &used).await? {
        // Two at once: one of them is not the client, or the client has no order in what it does.
        tracing::warn!(client = client.id, "a refresh token was used twice at once: all of its login end");
        store.remove(Kind::Grant, grant).await?;
        return Err(UNKNOWN);
    }
    if !store.keep(Kind::Grant, grant, provider.refreshable_until(), now).await? {
        return Err(UNKNOWN);
    }
    let mut answer = provider.for_user(client, grant, &granted, None).await?;
    answer.refresh_token = Some(issue(provider, grant).await?);
    Ok(answer)
}

/// A refresh token of this grant.
pub(super) async fn issue(provider: &Provider, grant: &str) -> Result<String, Refused> {
    let text = secret::random()?;
    let record = Refresh { grant: grant.to_owned(), used: false };
    let (until, now) = (provider.refreshable_until(), provider.now());
    provider.store().insert(Kind::Refresh, &secret::hashed(&text), &record, until, now).await?;
    Ok(text)
}

impl Provider {
    pub(super) fn refreshable_until(&self) -> u64 {
        self.now() + self.0.config.refresh.as_secs()
    }
}
