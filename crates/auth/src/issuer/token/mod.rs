//! The token endpoint (RFC 6749 section 3.2): one file a grant.

mod client_credentials;
mod code;
mod exchange;
pub(super) mod limits;
mod made;
mod refresh;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};

pub(super) use self::{made::Access, refresh::Refresh};
use super::{
    Provider,
    config::Grant,
    form::Form,
    refused::{Refused, unstored},
};

pub(super) async fn endpoint(State(provider): State<Provider>, request: Request) -> Response {
    match answer(&provider, request).await {
        Ok(token) => unstored(axum::Json(token).into_response()),
        Err(refused) => {
            tracing::info!(error = refused.error, why = refused.description, "no token is issued");
            refused.into_response()
        }
    }
}

async fn answer(provider: &Provider, request: Request) -> Result<made::Answer, Refused> {
    let (head, body) = request.into_parts();
    // RFC 6749 section 2.3.1: not in the URI, which stands in logs.
    if head.uri.query().is_some() {
        return Err(Refused::request("parameters belong into the body"));
    }
    let form = Form::read(&head.headers, body).await?;
    let grant = match form.required("grant_type", "grant_type is missing")? {
        "authorization_code" => Grant::AuthorizationCode,
        "refresh_token" => Grant::RefreshToken,
        "client_credentials" => Grant::ClientCredentials,
        "urn:ietf:params:oauth:grant-type:token-exchange" => Grant::TokenExchange,
        _ => return Err(Refused::named("unsupported_grant_type", "there are no tokens for such a grant")),
    };
    let client = provider.client_of(&head.headers, &form).await?;
    if !client.config.may(grant) {
        return Err(Refused::unauthorized_client());
    }
    match grant {
        Grant::AuthorizationCode => code::answer(provider, &client, &form).await,
        Grant::RefreshToken => refresh::answer(provider, &client, &form).await,
        Grant::ClientCredentials => client_credentials::answer(provider, &client, &form),
        Grant::TokenExchange => exchange::answer(provider, &client, &form).await,
    }
}
