//! A token for a call on behalf of whoever's token a service was called with (RFC 8693): delegation, so that the new token
//! says who acts.

use serde_json::{Value, json};

use super::{
    Access, limits,
    made::{Answer, words},
};
use crate::issuer::{Provider, client::Client, form::Form, refused::Refused};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// So many services may have acted one for the other.
const MOST_ACTORS: usize = 8;

pub(super) async fn answer(provider: &Provider, client: &Client, form: &Form) -> Result<Answer, Refused> {
    let text = form.required("subject_token", "subject_token is missing")?;
    if !matches!(form.required("subject_token_type", "subject_token_type is missing")?, ACCESS_TOKEN | JWT) {
        return Err(Refused::request("subject_token_type has to be that of an access token"));
    }
    if !matches!(form.one("requested_token_type")?, None | Some(ACCESS_TOKEN | JWT)) {
        return Err(Refused::request("requested_token_type has to be that of an access token"));
    }
    // The actor is the client, which has proved it.
    if form.one("actor_token")?.is_some() {
        return Err(Refused::request("actor_token is not supported: the client is the actor"));
    }
    // RFC 8693 section 2.2.2: a token that is not good is an invalid request.
    let subject = provider.access(text).await.map_err(|refused| match refused.error {
        "invalid_token" => Refused::request("subject_token is not a good access token of this provider"),
        _ => refused,
    })?;
    let text_of = |name: &str| subject.get(name).and_then(Value::as_str);
    let is_for = words(subject.get("aud"));
    // A token that came to somebody else is not this client's to use.
    if !is_for.contains(&client.id.as_str()) && text_of("client_id") != Some(client.id.as_str()) {
        return Err(Refused::request("subject_token was issued neither to the client nor for it"));
    }
    let has: Vec<&str> =
        text_of("scope").unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()).collect();
    let may = |scope: &str| {
        client.config.scopes.contains(scope) && has.contains(&scope) && !limits::is_about_people(scope)
    };
    let default = || client.config.scopes.iter().filter(|scope| may(scope));
    let scopes = limits::scopes(form, may, default)?;
    let audiences = limits::audiences(form, &client.config.audiences)?;
    if audiences.is_empty() {
        return Err(Refused::target());
    }
    let mut actor = json!({ "sub": client.id });
    if let Some(before) = subject.get("act") {
        // Section 4.1: the last one outermost.
        if depth(before) >= MOST_ACTORS {
            return Err(Refused::request("too many services have acted one for the other"));
        }
        actor["act"] = before.clone();
    }
    let roles: Vec<String> = words(subject.get("roles")).into_iter().map(ToOwned::to_owned).collect();
    let mut answer = provider.answer(&Access {
        subject: text_of("sub").unwrap_or_default(),
        client: &client.id,
        scopes: &scopes,
        audiences: &audiences,
        roles: &roles,
        // Ends with what the token that it came from was issued under.
        grant: text_of("jti").and_then(|id| Some(id.split_once('.')?.0)),
        authenticated: subject.get("auth_time").and_then(Value::as_u64),
        // Or two services could keep a token alive between them.
        until: subject.get("exp").and_then(Value::as_u64),
        actor: Some(actor),
    })?;
    answer.issued_token_type = Some(ACCESS_TOKEN);
    Ok(answer)
}

fn depth(actor: &Value) -> usize {
    std::iter::successors(Some(actor), |actor| actor.get("act")).take(MOST_ACTORS + 1).count()
}
