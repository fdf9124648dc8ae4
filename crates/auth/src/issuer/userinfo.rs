//! What a client learns of who logged in (OpenID Connect Core section 5.3).

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{
    Provider,
    refused::{Refused, unstored},
};

pub(super) async fn endpoint(State(provider): State<Provider>, request: Request) -> Response {
    let token = match bearer(request.headers()) {
        Ok(Some(token)) => token,
        // RFC 6750 section 3.1: who brings nothing learns only what to bring.
        Ok(None) => {
            let mut answer = unstored(StatusCode::UNAUTHORIZED.into_response());
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
        Err(refused) => return refused.into_response(),
    };
    match claims(&provider, token).await {
        Ok(claims) => unstored(axum::Json(claims).into_response()),
        Err(refused) => refused.into_response(),
    }
}

async fn claims(provider: &Provider, token: &str) -> Result<Value, Refused> {
    let token = provider.access(token).await?;
    let text = |name: &str| token.get(name).and_then(Value::as_str).unwrap_or_default();
    let has = |scope: &str| text("scope").split(' ').any(|has| has == scope);
    if !has("openid") {
        return Err(Refused::named("insufficient_scope", "the token lacks the scope openid"));
    }
    let gone = Refused::named("invalid_token", "the user is not known any more");
    let authenticated = token.get("auth_time").and_then(Value::as_u64).unwrap_or_default();
    let user = provider.0.users.logged_in(text("sub"), authenticated).await?.ok_or(gone)?;
    let mut claims = json!({ "sub": user.subject });
    if has("profile") {
        claims["preferred_username"] = json!(user.login);
        if let Some(name) = &user.config.name {
            claims["name"] = json!(name);
        }
    }
    if let Some(email) = user.config.email.as_ref().filter(|_| has("email")) {
        claims["email"] = json!(email);
    }
    Ok(claims)
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refused::request("there are several headers Authorization"));
    }
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).unwrap_or_default();
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()))
}
