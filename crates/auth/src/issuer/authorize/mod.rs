//! The authorization endpoint (RFC 6749 section 3.1, OpenID Connect Core section 3.1.2): a request is read, somebody logs in and
//! consents, and is sent back with a code.
//!
//! Nothing is remembered of a request under way: pages post to the URL that they stand at, which has all of it, and it is read
//! anew each time.

mod forms;
mod request;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use self::request::{Asked, Invalid};
pub(super) use self::{
    forms::{Guard, address, is_from_elsewhere},
    request::{origin, source, with_query},
};
use super::{
    Provider,
    form::Form,
    pages,
    refused::{Refused, unstored},
    secret,
    session::Session,
    store::Kind,
    users::{Failed, User},
};

/// A code is good for so long, in seconds (RFC 6749 section 4.1.2: at most 10 minutes).
const CODE_LASTS: u64 = 60;
/// So long it is known that it was used, so that a second use ends what the first has given.
const CODE_KNOWN: u64 = 24 * 3600;
/// So long a login is new enough for whoever asks for a new one, in seconds: for the consent that follows it.
const FRESH: u64 = 300;

/// What somebody has granted a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Granted {
    pub(super) client: String,
    pub(super) subject: String,
    pub(super) scopes: Vec<String>,
    pub(super) audiences: Vec<String>,
    pub(super) authenticated: u64,
}

/// What a code is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Code {
    pub(super) granted: Granted,
    pub(super) redirect_uri: String,
    /// `S256` of the verifier (RFC 7636 section 4.2).
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) until: u64,
    /// What was issued for it, once it was used.
    pub(super) used: Option<String>,
}

pub(super) async fn show(State(provider): State<Provider>, request: Request) -> Response {
    let asked = match Form::of_query(&request) {
        Ok(form) => Asked::read(&provider, &form).await,
        Err(refused) => Err(Invalid::Page(refused)),
    };
    let step = Step { provider: &provider, headers: request.headers(), set: Vec::new() };
    match asked {
        Ok(asked) => step.begin(&asked).await,
        Err(invalid) => step.refuse(invalid),
    }
}

pub(super) async fn submit(State(provider): State<Provider>, request: Request) -> Response {
    let query = Form::of_query(&request);
    let address = address(request.extensions());
    let (head, body) = request.into_parts();
    let step = Step { provider: &provider, headers: &head.headers, set: Vec::new() };
    let sent = match Form::read(&head.headers, body).await {
        Ok(sent) => sent,
        Err(refused) => return step.refuse(Invalid::Page(refused)),
    };
    // OpenID Connect Core section 3.1.2.1: a request may come as a form. It becomes one of the kind that pages can post to.
    if head.uri.query().is_none() && sent.all("client_id").next().is_some() {
        return see_other(&format!("{}?{}", head.uri.path(), sent.to_query()));
    }
    let asked = match query {
        Ok(form) => Asked::read(&provider, &form).await,
        Err(refused) => Err(Invalid::Page(refused)),
    };
    match asked {
        Ok(asked) => step.submit(&asked, &sent, address).await,
        Err(invalid) => step.refuse(invalid),
    }
}

/// One request, and the cookies that its answer sets.
struct Step<'a> {
    provider: &'a Provider,
    headers: &'a HeaderMap,
    set: Vec<HeaderValue>,
}

impl Step<'_> {
    async fn begin(mut self, asked: &Asked) -> Response {
        let now = self.provider.now();
        let session = match self.provider.session(self.headers).await {
            Ok(session) => session.map(|(session, _)| session),
            Err(refused) => return self.refuse(asked.back(refused)),
        };
        match session {
            Some(session) if asked.takes(&session, now) => self.go_on(asked, &session, None).await,
            _ if asked.is_silent() => {
                self.refuse(asked.back(Refused::named("login_required", "nobody is logged in")))
            }
            _ => self.login_page(asked, StatusCode::OK, &asked.login_hint.clone(), None),
        }
    }

    async fn submit(mut self, asked: &Asked, sent: &Form, address: Option<std::net::IpAddr>) -> Response {
        let guard = Guard::of(self.provider, self.headers);
        let is_from_elsewhere = is_from_elsewhere(self.provider, self.headers);
        if is_from_elsewhere || !guard.is_some_and(|guard| guard.lets_pass(sent)) {
            // Such as a page that was open for long. Nothing was done; what somebody typed into a page of ours is kept.
            let alert = Some("That took too long, or came from elsewhere. Please try again.".to_owned());
            let login = if is_from_elsewhere { None } else { sent.one("login").ok().flatten() };
            return self.login_page(asked, StatusCode::FORBIDDEN, login.unwrap_or_default(), alert);
        }
        match sent.one("action") {
            Ok(Some("login")) => self.log_in(asked, sent, address).await,
            Ok(Some("allow")) => match self.provider.session(self.headers).await {
                Ok(Some((session, _))) if asked.takes_after_login(&session, self.provider.now()) => {
                    self.allow(asked, &session).await
                }
                Ok(_) => self.login_page(asked, StatusCode::OK, "", None),
                Err(refused) => self.refuse(asked.back(refused)),
            },
            Ok(Some("switch")) => match self.provider.end_session(self.headers).await {
                Ok(()) => self.login_page(asked, StatusCode::OK, "", None),
                Err(refused) => self.refuse(asked.back(refused)),
            },
            Ok(Some("cancel")) => {
                self.refuse(asked.back(Refused::named("access_denied", "it was not allowed")))
            }
            _ => self.refuse(Invalid::Page(Refused::request("the form has no such button"))),
        }
    }

    async fn log_in(mut self, asked: &Asked, sent: &Form, address: Option<std::net::IpAddr>) -> Response {
        let login = sent.one("login").ok().flatten().unwrap_or_default();
        let password = sent.one("password").ok().flatten().unwrap_or_default();
        let (status, alert) = match self
            .provider
            .0
            .users
            .log_in(login, password, address, self.provider.now())
            .await
        {
            Ok(user) => {
                return match self.provider.begin_session(self.headers, &user).await {
                    Ok((session, cookie)) => {
                        tracing::info!(user = user.subject, client = asked.client.id, "somebody logged in");
                        self.set.push(cookie);
                        self.go_on(asked, &session, Some(&user)).await
                    }
                    Err(refused) => self.refuse(asked.back(refused)),
                };
            }
            // Not 401, which wants a challenge (RFC 9110 section 15.5.2).
            Err(Failed::Wrong) => {
                (StatusCode::FORBIDDEN, "The user name or the password is wrong.".to_owned())
            }
            Err(Failed::Wait(seconds)) => (
                StatusCode::TOO_MANY_REQUESTS,
                format!("There were too many tries. Please wait {}.", in_words(seconds)),
            ),
            Err(Failed::Busy) => {
                (StatusCode::SERVICE_UNAVAILABLE, "Too many log in right now. Please try again.".to_owned())
            }
        };
        tracing::warn!(client = asked.client.id, address = address.map(tracing::field::display), %status, "a login failed");
        self.login_page(asked, status, login, Some(alert))
    }

    /// Somebody is logged in; what is left is their consent.
    async fn go_on(mut self, asked: &Asked, session: &Session, user: Option<&User>) -> Response {
        let consented = match self.has_consented(asked, session).await {
            Ok(consented) => consented,
            Err(refused) => return self.refuse(asked.back(refused)),
        };
        if consented && !asked.asks_again() {
            return self.send_back(asked, session).await;
        }
        if asked.is_silent() {
            return self.refuse(asked.back(Refused::named("consent_required", "it was not allowed yet")));
        }
        let known = self.provider.0.users.logged_in(&session.subject, session.authenticated).await;
        let known = match known {
            Ok(known) => known,
            Err(failure) => return self.refuse(asked.back(failure.into())),
        };
        let Some(user) = user.or(known.as_deref()) else {
            return self.login_page(asked, StatusCode::OK, "", None);
        };
        let guard = match self.guard() {
            Ok(guard) => guard,
            Err(refused) => return self.refuse(asked.back(refused)),
        };
        let page = pages::Consent {
            client: &asked.client,
            back: &asked.redirect_uri,
            user,
            scopes: &asked.scopes,
            words: &self.provider.0.config.scopes,
            audiences: &asked.audiences,
            token: &guard.token(),
        };
        self.answer(page.page())
    }

    async fn has_consented(&self, asked: &Asked, session: &Session) -> Result<bool, Refused> {
        if !asked.client.config.consent {
            return Ok(true);
        }
        let (name, now) = (consent_name(asked, session), self.provider.now());
        let found = self.provider.store().get::<Vec<String>>(Kind::Consent, &name, now).await?;
        Ok(found.is_some_and(|found| asked.consents().iter().all(|one| found.value.contains(one))))
    }

    async fn allow(self, asked: &Asked, session: &Session) -> Response {
        const YEAR: u64 = 366 * 24 * 3600;
        let (name, now) = (consent_name(asked, session), self.provider.now());
        let store = self.provider.store();
        let known = match store.get::<Vec<String>>(Kind::Consent, &name, now).await {
            Ok(found) => found.map(|found| found.value).unwrap_or_default(),
            Err(failure) => return self.refuse(asked.back(failure.into())),
        };
        let mut all: Vec<String> = known.into_iter().chain(asked.consents()).collect();
        all.sort_unstable();
        all.dedup();
        match store.put(Kind::Consent, &name, &all, now + YEAR, now).await {
            Ok(()) => self.send_back(asked, session).await,
            Err(failure) => self.refuse(asked.back(failure.into())),
        }
    }

    async fn send_back(self, asked: &Asked, session: &Session) -> Response {
        match self.code(asked, session).await {
            Ok(code) => {
                let location = asked.location(self.provider, &[("code", &code)]);
                self.answer(see_other(&location))
            }
            Err(refused) => self.refuse(asked.back(refused)),
        }
    }

    async fn code(&self, asked: &Asked, session: &Session) -> Result<String, Refused> {
        let (text, now) = (secret::random()?, self.provider.now());
        let code = Code {
            granted: Granted {
                client: asked.client.id.clone(),
                subject: session.subject.clone(),
                scopes: asked.scopes.clone(),
                audiences: asked.audiences.clone(),
                authenticated: session.authenticated,
            },
            redirect_uri: asked.redirect_uri.clone(),
            challenge: asked.challenge.clone(),
            nonce: asked.nonce.clone(),
            until: now + CODE_LASTS,
            used: None,
        };
        let known = now + CODE_KNOWN;
        self.provider.store().insert(Kind::Code, &secret::hashed(&text), &code, known, now).await?;
        Ok(text)
    }

    fn login_page(
        &mut self,
        asked: &Asked,
        status: StatusCode,
        login: &str,
        alert: Option<String>,
    ) -> Response {
        let guard = match self.guard() {
            Ok(guard) => guard,
            Err(refused) => {
                return pages::told(refused.status(), "Something went wrong", refused.description);
            }
        };
        let page = pages::Login {
            client: &asked.client,
            back: &asked.redirect_uri,
            token: &guard.token(),
            login,
            alert,
        };
        with_cookies(page.page(status), std::mem::take(&mut self.set))
    }

    /// That of this browser, or a new one.
    fn guard(&mut self) -> Result<Guard, Refused> {
        if let Some(guard) = Guard::of(self.provider, self.headers) {
            return Ok(guard);
        }
        let (guard, cookie) = Guard::new(self.provider)?;
        self.set.push(cookie);
        Ok(guard)
    }

    fn refuse(self, invalid: Invalid) -> Response {
        match invalid {
            Invalid::Page(refused) if refused.status() == StatusCode::SERVICE_UNAVAILABLE => {
                pages::told(refused.status(), "Something went wrong", "Please try again later.")
            }
            // Whoever can't be trusted to be the client is not sent anybody (RFC 6749 section 4.1.2.1).
            Invalid::Page(refused) => {
                let status = refused.status();
                let status =
                    if status == StatusCode::UNAUTHORIZED { StatusCode::BAD_REQUEST } else { status };
                pages::told(
                    status,
                    "This can't be done",
                    &format!(
                        "The program that sent you here made a mistake: {}. Its makers have to put it right.",
                        refused.description
                    ),
                )
            }
            Invalid::Back(back, refused) => {
                let fields = [("error", refused.error), ("error_description", refused.description)];
                let location = back.location(self.provider, &fields);
                self.answer(see_other(&location))
            }
        }
    }

    fn answer(self, answer: Response) -> Response {
        with_cookies(answer, self.set)
    }
}

/// A time to wait, rounded up.
fn in_words(seconds: u64) -> String {
    match seconds {
        1 => "1 second".to_owned(),
        0..=90 => format!("{seconds} seconds"),
        more => format!("{} minutes", more.div_ceil(60)),
    }
}

fn consent_name(asked: &Asked, session: &Session) -> String {
    // Hashed, since names of records are short; a line end stands in none of both.
    secret::hashed(&format!("{}\n{}", session.subject, asked.client.id))
}

/// Also after a form: what it sent goes no further (RFC 9700 section 4.12).
pub(super) fn see_other(location: &str) -> Response {
    match HeaderValue::try_from(location) {
        Ok(location) => {
            let mut answer = unstored(StatusCode::SEE_OTHER.into_response());
            answer.headers_mut().insert(header::LOCATION, location);
            answer.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            answer
        }
        Err(_) => pages::told(StatusCode::BAD_REQUEST, "This can't be done", "The way back is no URL."),
    }
}

pub(super) fn with_cookies(mut answer: Response, cookies: Vec<HeaderValue>) -> Response {
    for cookie in cookies {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}
