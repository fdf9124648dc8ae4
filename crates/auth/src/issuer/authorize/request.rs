//! What a client asks for, read and checked.

use std::sync::Arc;

use crate::issuer::{
    Grant, Provider, client::Client, config::is_redirection_to, form::Form, refused::Refused,
    session::Session, token::limits,
};

const LONGEST: usize = 4096;

/// A request that can be answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) client: Arc<Client>,
    pub(super) redirect_uri: String,
    state: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) audiences: Vec<String>,
    pub(super) nonce: Option<String>,
    pub(super) challenge: String,
    pub(super) login_hint: String,
    prompts: Vec<Prompt>,
    max_age: Option<u64>,
}

/// OpenID Connect Core section 3.1.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prompt {
    None,
    Login,
    Consent,
}

/// Why a request is not answered, and who is told.
#[derive(Debug)]
pub(super) enum Invalid {
    /// The person, since it is not known who the client is.
    Page(Refused),
    /// The client.
    Back(Back, Refused),
}

/// The way back to a client.
#[derive(Debug, Clone)]
pub(super) struct Back {
    redirect_uri: String,
    state: Option<String>,
}

impl Asked {
    pub(super) async fn read(provider: &Provider, form: &Form) -> Result<Self, Invalid> {
        let id = form.required("client_id", "client_id is missing").map_err(Invalid::Page)?;
        let client = provider.client(id).await.map_err(|failure| Invalid::Page(failure.into()))?;
        let client = client.filter(|client| client.config.may(Grant::AuthorizationCode));
        let client = client.ok_or(Invalid::Page(Refused::request("the client is not known here")))?;
        let uri = form.required("redirect_uri", "redirect_uri is missing").map_err(Invalid::Page)?;
        if !client.config.redirect_uris.iter().any(|registered| is_redirection_to(registered, uri)) {
            return Err(Invalid::Page(Refused::request("redirect_uri is not one of the client's")));
        }
        // Only now is it known who is told of what follows; a `state` that stands twice is not given back.
        let state = form
            .one("state")
            .map(|state| state.filter(|state| state.len() <= LONGEST).map(ToOwned::to_owned));
        let back = Back { redirect_uri: uri.to_owned(), state: state.clone().unwrap_or_default() };
        let rest = state.and_then(|_| Self::read_rest(form, &client, &back));
        rest.map_err(|refused| Invalid::Back(back, refused))
    }

    fn read_rest(form: &Form, client: &Arc<Client>, back: &Back) -> Result<Self, Refused> {
        // OpenID Connect Core section 6: not supported, and said so.
        if form.one("request")?.is_some() {
            return Err(Refused::named("request_not_supported", "requests as JWT are not supported"));
        }
        if form.one("request_uri")?.is_some() {
            return Err(Refused::named(
                "request_uri_not_supported",
                "requests by reference are not supported",
            ));
        }
        match form.required("response_type", "response_type is missing")? {
            "code" => {}
            _ => return Err(Refused::named("unsupported_response_type", "response_type has to be code")),
        }
        if !matches!(form.one("response_mode")?, None | Some("query")) {
            return Err(Refused::request("response_mode has to be query"));
        }
        if form.one("state")?.is_some_and(|state| state.len() > LONGEST) {
            return Err(Refused::request("state is too long"));
        }
        // RFC 7636 section 4.3, of every client (RFC 9700 section 2.1.1); without a method it would be `plain`.
        let challenge = form.required("code_challenge", "code_challenge is missing: PKCE is required")?;
        if form.one("code_challenge_method")? != Some("S256") {
            return Err(Refused::request("code_challenge_method has to be S256"));
        }
        let is_hash = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if challenge.len() != 43 || !challenge.bytes().all(is_hash) {
            return Err(Refused::request("code_challenge is not that of S256"));
        }
        let may = |scope: &str| client.config.scopes.contains(scope);
        let default = || client.config.scopes.iter().filter(|scope| !limits::is_about_people(scope));
        let scopes = limits::scopes(form, may, default)?;
        let audiences = limits::audiences(form, &client.config.audiences)?;
        let nonce = form.one("nonce")?;
        if nonce.is_some_and(|nonce| nonce.len() > 512) {
            return Err(Refused::request("nonce is too long"));
        }
        let mut prompts = Vec::new();
        for word in form.one("prompt")?.unwrap_or_default().split_ascii_whitespace() {
            prompts.push(match word {
                "none" => Prompt::None,
                "consent" => Prompt::Consent,
                // There is one account in a browser at a time: another one is another login.
                "login" | "select_account" => Prompt::Login,
                _ => return Err(Refused::request("prompt has an unknown value")),
            });
        }
        if prompts.contains(&Prompt::None) && prompts.len() > 1 {
            return Err(Refused::request("prompt can't be none and something else"));
        }
        let max_age = form
            .one("max_age")?
            .map(|age| age.parse::<u64>().map_err(|_| Refused::request("max_age is no number")));
        let login_hint = form.one("login_hint")?.filter(|hint| hint.len() <= 200).unwrap_or_default();
        Ok(Self {
            client: Arc::clone(client),
            redirect_uri: back.redirect_uri.clone(),
            state: back.state.clone(),
            scopes,
            audiences,
            nonce: nonce.map(ToOwned::to_owned),
            challenge: challenge.to_owned(),
            login_hint: login_hint.to_owned(),
            prompts,
            max_age: max_age.transpose()?,
        })
    }

    /// Nobody may be asked anything.
    pub(super) fn is_silent(&self) -> bool {
        self.prompts.contains(&Prompt::None)
    }

    /// Consent is asked for even if it was given.
    pub(super) fn asks_again(&self) -> bool {
        self.prompts.contains(&Prompt::Consent)
    }

    /// Whether this login is new enough.
    pub(super) fn takes(&self, session: &Session, now: u64) -> bool {
        let age = now.saturating_sub(session.authenticated);
        !self.prompts.contains(&Prompt::Login) && self.max_age.is_none_or(|most| age <= most)
    }

    /// The same on the page that follows a login.
    pub(super) fn takes_after_login(&self, session: &Session, now: u64) -> bool {
        let age = now.saturating_sub(session.authenticated);
        self.takes(session, now) || age <= super::FRESH
    }

    /// What is consented to: scopes, and where.
    pub(super) fn consents(&self) -> Vec<String> {
        let audiences = self.audiences.iter().map(|audience| format!("at {audience}"));
        self.scopes.iter().cloned().chain(audiences).collect()
    }

    pub(super) fn back(&self, refused: Refused) -> Invalid {
        Invalid::Back(self.way_back(), refused)
    }

    pub(super) fn location(&self, provider: &Provider, fields: &[(&str, &str)]) -> String {
        self.way_back().location(provider, fields)
    }

    fn way_back(&self) -> Back {
        Back { redirect_uri: self.redirect_uri.clone(), state: self.state.clone() }
    }
}

impl Back {
    /// With `state`, and with `iss`, so that a client knows which provider answers (RFC 9207).
    pub(super) fn location(&self, provider: &Provider, fields: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(fields);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", provider.issuer());
        with_query(&self.redirect_uri, &query.finish())
    }
}

/// RFC 6749 section 3.1.2: a query that is there stays.
pub(in crate::issuer) fn with_query(uri: &str, query: &str) -> String {
    let separator = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{separator}{query}")
}

/// What a Content-Security-Policy calls where a URI leads.
pub(in crate::issuer) fn source(uri: &str) -> String {
    let origin = origin(uri);
    // Addresses of IPv6 have no place in its grammar.
    if origin.contains('[') { origin.split("//").next().unwrap_or_default().to_owned() } else { origin }
}

/// What the header `Origin` calls where a URI leads.
pub(in crate::issuer) fn origin(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme @ ("https" | "http"), rest)) => {
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            format!("{scheme}://{host}")
        }
        // Of its own scheme.
        _ => format!("{}:", uri.split(':').next().unwrap_or_default()),
    }
}
