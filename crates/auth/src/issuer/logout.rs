//! Logging out (OpenID Connect RP-Initiated Logout 1.0).

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{
    Provider,
    authorize::{Guard, is_from_elsewhere, see_other, with_cookies, with_query},
    form::Form,
    pages,
    refused::Refused,
    session::Cookie,
};

/// Nobody tells clients (see `docs/issuer.md`), so that people are told.
const LOGGED_OUT: &str = "Programs that you have used may still know you, until you log out there too.";

/// What is asked for.
struct Asked {
    /// Who was logged in, as an ID token of ours says.
    subject: Option<String>,
    /// Where to go then, with `state`.
    then: Option<String>,
}

pub(super) async fn show(State(provider): State<Provider>, request: Request) -> Response {
    let form = Form::of_query(&request);
    answer(&provider, request.headers(), form, None).await
}

pub(super) async fn submit(State(provider): State<Provider>, request: Request) -> Response {
    let query = Form::of_query(&request);
    let (head, body) = request.into_parts();
    match Form::read(&head.headers, body).await {
        Ok(sent) if sent.all("form_token").next().is_some() => {
            answer(&provider, &head.headers, query, Some(&sent)).await
        }
        // Section 2: parameters may come as a form. It becomes a request that our page can post to.
        Ok(sent) => see_other(&format!("{}?{}", head.uri.path(), sent.to_query())),
        Err(refused) => told(refused),
    }
}

async fn answer(
    provider: &Provider,
    headers: &HeaderMap,
    form: Result<Form, Refused>,
    sent: Option<&Form>,
) -> Response {
    match step(provider, headers, form, sent).await {
        Ok(answer) => answer,
        Err(refused) => told(refused),
    }
}

async fn step(
    provider: &Provider,
    headers: &HeaderMap,
    form: Result<Form, Refused>,
    sent: Option<&Form>,
) -> Result<Response, Refused> {
    let asked = Asked::read(provider, &form?).await?;
    let guard = Guard::of(provider, headers);
    let session = provider.session(headers).await?.map(|(session, _)| session);
    let is_ours = |sent: &Form| {
        guard.as_ref().is_some_and(|guard| guard.lets_pass(sent)) && !is_from_elsewhere(provider, headers)
    };
    let is_meant = match &session {
        None => true,
        // Section 2: the ID token shows that the client knows who is logged in; otherwise the person is asked, or any site could
        // log people out.
        Some(session) => asked.subject.as_ref() == Some(&session.subject) || sent.is_some_and(is_ours),
    };
    if !is_meant {
        let (guard, cookies) = match guard {
            Some(guard) => (guard, Vec::new()),
            None => Guard::new(provider).map(|(guard, cookie)| (guard, vec![cookie]))?,
        };
        let user = match &session {
            Some(session) => provider.0.users.logged_in(&session.subject, session.authenticated).await?,
            None => None,
        };
        let login = user.as_ref().map_or("", |user| &user.login);
        return Ok(with_cookies(pages::logout(login, &guard.token()), cookies));
    }
    provider.end_session(headers).await?;
    let answer = match &asked.then {
        Some(uri) => see_other(uri),
        None => pages::told(StatusCode::OK, "You are logged out", LOGGED_OUT),
    };
    Ok(with_cookies(answer, vec![provider.set_cookie(Cookie::Session, "", 0)]))
}

impl Asked {
    async fn read(provider: &Provider, form: &Form) -> Result<Self, Refused> {
        // Section 4: also one that has ended.
        let claims = form.one("id_token_hint")?.and_then(|hint| provider.read("jwt", hint));
        let text = |name: &str| claims.as_ref()?.get(name).and_then(Value::as_str);
        let of_token = text("aud");
        let client = match (form.one("client_id")?, of_token) {
            (Some(id), Some(other)) if id != other => {
                return Err(Refused::request("client_id is not that of id_token_hint"));
            }
            (id, other) => match id.or(other) {
                Some(id) => provider.client(id).await?,
                None => None,
            },
        };
        let then = form.one("post_logout_redirect_uri")?;
        let is_known = |uri: &str| {
            client.is_some_and(|client| client.config.post_logout_redirect_uris.iter().any(|has| has == uri))
        };
        let then = match then {
            None => None,
            Some(uri) if is_known(uri) => Some(uri),
            Some(_) => return Err(Refused::request("post_logout_redirect_uri is not one of a known client")),
        };
        let state = form.one("state")?.filter(|state| state.len() <= 4096);
        let with_state = |uri: &str| match state {
            Some(state) => with_query(
                uri,
                &form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish(),
            ),
            None => uri.to_owned(),
        };
        Ok(Self { subject: text("sub").map(ToOwned::to_owned), then: then.map(with_state) })
    }
}

fn told(refused: Refused) -> Response {
    pages::told(
        refused.status(),
        "This can't be done",
        &format!("You are not logged out: {}.", refused.description),
    )
}
