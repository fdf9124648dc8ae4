//! What a token says, for who can't or won't read it (RFC 7662).

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Provider,
    authorize::Granted,
    client::Client,
    form::Form,
    refused::{Refused, unstored},
    secret,
    store::Kind,
    token::Refresh,
};

pub(super) async fn endpoint(State(provider): State<Provider>, request: Request) -> Response {
    match answer(&provider, request).await {
        Ok(says) => unstored(axum::Json(says).into_response()),
        Err(refused) => refused.into_response(),
    }
}

async fn answer(provider: &Provider, request: Request) -> Result<Value, Refused> {
    let (head, body) = request.into_parts();
    let form = Form::read(&head.headers, body).await?;
    let client = provider.client_of(&head.headers, &form).await?;
    // Section 2.1: nobody may go through tokens to see which are good.
    if client.is_public() {
        return Err(Refused::client());
    }
    let text = form.required("token", "token is missing")?;
    let says = match access(provider, &client, text).await? {
        Some(says) => Some(says),
        None => refresh(provider, &client, text).await?,
    };
    Ok(says.unwrap_or_else(|| json!({ "active": false })))
}

async fn access(provider: &Provider, client: &Client, text: &str) -> Result<Option<Value>, Refused> {
    let claims = match provider.access(text).await {
        Ok(claims) => claims,
        Err(refused) if refused.error == "invalid_token" => return Ok(None),
        Err(refused) => return Err(refused),
    };
    let is_own = claims.get("client_id").and_then(Value::as_str) == Some(client.id.as_str());
    if !is_own && !client.config.introspects {
        return Ok(None);
    }
    let mut says = Value::Object(claims);
    says["active"] = json!(true);
    says["token_type"] = json!("Bearer");
    Ok(Some(says))
}

async fn refresh(provider: &Provider, client: &Client, text: &str) -> Result<Option<Value>, Refused> {
    let (store, now) = (provider.store(), provider.now());
    let Some(found) = store.get::<Refresh>(Kind::Refresh, &secret::hashed(text), now).await? else {
        return Ok(None);
    };
    let Some(granted) = store.get::<Granted>(Kind::Grant, &found.value.grant, now).await? else {
        return Ok(None);
    };
    let granted = granted.value;
    let says = json!({
        "active": true, "iss": provider.issuer(), "sub": granted.subject, "client_id": granted.client,
        "scope": granted.scopes.join(" "),
    });
    // It is for nobody but the client that has it.
    Ok((!found.value.used && granted.client == client.id).then_some(says))
}
