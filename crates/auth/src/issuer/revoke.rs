//! Tokens that a client no longer wants (RFC 7009).

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::Value;

use super::{
    Provider,
    authorize::Granted,
    form::Form,
    refused::{Refused, unstored},
    secret,
    store::Kind,
    token::Refresh,
};

pub(super) async fn endpoint(State(provider): State<Provider>, request: Request) -> Response {
    match revoke(&provider, request).await {
        // Section 2.2: also for a token that is not known, which is as good as revoked.
        Ok(()) => unstored(StatusCode::OK.into_response()),
        Err(refused) => refused.into_response(),
    }
}

async fn revoke(provider: &Provider, request: Request) -> Result<(), Refused> {
    const OTHERS: Refused = Refused::named("unauthorized_client", "the token is another client's");
    let (head, body) = request.into_parts();
    let form = Form::read(&head.headers, body).await?;
    let client = provider.client_of(&head.headers, &form).await?;
    let text = form.required("token", "token is missing")?;
    let (store, now) = (provider.store(), provider.now());
    if let Some(found) = store.get::<Refresh>(Kind::Refresh, &secret::hashed(text), now).await? {
        let grant = &found.value.grant;
        let Some(granted) = store.get::<Granted>(Kind::Grant, grant, now).await? else { return Ok(()) };
        if granted.value.client != client.id {
            return Err(OTHERS);
        }
        // Section 2.1: and with it all that was issued under the same grant.
        store.remove(Kind::Grant, grant).await?;
        return Ok(());
    }
    let Some(claims) = provider.read("at+jwt", text) else { return Ok(()) };
    let text_of = |name: &str| claims.get(name).and_then(Value::as_str);
    if text_of("client_id") != Some(client.id.as_str()) {
        return Err(OTHERS);
    }
    let until = claims.get("exp").and_then(Value::as_u64).unwrap_or_default();
    if let (Some(id), true) = (text_of("jti"), until > now) {
        store.insert(Kind::Revoked, id, &(), until, now).await?;
    }
    Ok(())
}
