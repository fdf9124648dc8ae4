//! Pages for people: without scripts, without anything from elsewhere, everything escaped.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use aws_lc_rs::digest;
use axum::response::{IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};

use super::{
    authorize::{origin, source},
    client::Client,
    refused::unstored,
    users::User,
};

const STYLE: &str = include_str!("style.css");

static STYLE_HASH: LazyLock<String> =
    LazyLock::new(|| STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes())));

/// Where somebody gives a password.
#[derive(Debug)]
pub(super) struct Login<'a> {
    pub(super) client: &'a Client,
    /// Where the client wants them back.
    pub(super) back: &'a str,
    /// What the form has to send back.
    pub(super) token: &'a str,
    pub(super) login: &'a str,
    pub(super) alert: Option<String>,
}

impl Login<'_> {
    pub(super) fn page(&self, status: StatusCode) -> Response {
        let client = Text(self.client.name());
        let (title, alert) = match &self.alert {
            // The title is what is read out first.
            Some(alert) => (
                format!("Not logged in: {client}"),
                format!("<p class=\"alert\" id=\"alert\" role=\"alert\">{}</p>", Text(alert)),
            ),
            None => (format!("Log in to {client}"), String::new()),
        };
        let described = if self.alert.is_some() { " aria-describedby=\"alert\"" } else { "" };
        let (on_login, on_password) =
            if self.login.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
        let body = format!(
            "<h1>Log in to {client}</h1>{alert}\
             <form method=\"post\"><input type=\"hidden\" name=\"form_token\" value=\"{token}\">\
             <label for=\"login\">User name</label>\
             <input id=\"login\" name=\"login\" value=\"{login}\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"200\" required{described}{on_login}>\
             <label for=\"password\">Password</label>\
             <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" maxlength=\"256\" required{described}{on_password}>\
             <button class=\"first\" name=\"action\" value=\"login\">Log in</button>\
             <button name=\"action\" value=\"cancel\" formnovalidate>Cancel</button></form>{way_back}",
            token = Text(self.token),
            login = Text(self.login),
            way_back = way_back(self.back),
        );
        page(status, &title, &body, Some(self.back))
    }
}

/// Where somebody says what a client may.
#[derive(Debug)]
pub(super) struct Consent<'a> {
    pub(super) client: &'a Client,
    /// Where the client wants them back.
    pub(super) back: &'a str,
    pub(super) user: &'a User,
    pub(super) scopes: &'a [String],
    /// What scopes are called in words.
    pub(super) words: &'a BTreeMap<String, String>,
    pub(super) audiences: &'a [String],
    pub(super) token: &'a str,
}

impl Consent<'_> {
    pub(super) fn page(&self) -> Response {
        let mut scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        scopes.sort_by_key(|scope| match *scope {
            "openid" => 0,
            "profile" => 1,
            "email" => 2,
            "offline_access" => 4,
            _ => 3,
        });
        let told = |scope| match (self.words.get(scope), scope) {
            (Some(words), _) => format!("<li>{}</li>", Text(words)),
            (None, "openid") => "<li>know who you are</li>".to_owned(),
            (None, "profile") => "<li>see your name</li>".to_owned(),
            (None, "email") => "<li>see your e-mail address</li>".to_owned(),
            (None, "offline_access") => "<li>go on when you are not there</li>".to_owned(),
            (None, other) => format!("<li><code>{}</code></li>", Text(other)),
        };
        let scopes: String = scopes.into_iter().map(told).collect();
        let audiences = match self.audiences {
            [] => String::new(),
            some => format!("<p>It does so at <strong>{}</strong>.</p>", Text(&some.join(", "))),
        };
        let client = Text(self.client.name());
        let body = format!(
            "<h1>{client} asks to act for you</h1>\
             <p>You are logged in as <strong>{login}</strong>. If you allow it, {client} may:</p>\
             <ul>{scopes}</ul>{audiences}\
             <form method=\"post\"><input type=\"hidden\" name=\"form_token\" value=\"{token}\">\
             <button class=\"first\" name=\"action\" value=\"allow\">Allow</button>\
             <button name=\"action\" value=\"cancel\">Refuse</button>\
             <button class=\"last\" name=\"action\" value=\"switch\">Use another account</button></form>{way_back}",
            login = Text(&self.user.login),
            token = Text(self.token),
            way_back = way_back(self.back),
        );
        page(StatusCode::OK, &format!("Allow {client}?"), &body, Some(self.back))
    }
}

/// Where somebody says whether to log out.
pub(super) fn logout(login: &str, token: &str) -> Response {
    let body = format!(
        "<h1>Log out?</h1><p>You are logged in as <strong>{}</strong>.</p>\
         <form method=\"post\"><input type=\"hidden\" name=\"form_token\" value=\"{}\">\
         <button class=\"first\" name=\"action\" value=\"logout\">Log out</button></form>",
        Text(login),
        Text(token)
    );
    page(StatusCode::OK, "Log out?", &body, None)
}

/// Who is asked for a password, or to trust a client by its name, sees where that name leads.
fn way_back(uri: &str) -> String {
    let origin = origin(uri);
    let host = origin.split_once("://").map_or(origin.trim_end_matches(':'), |(_, host)| host);
    format!("<p class=\"note\">Then you go back to <strong>{}</strong>.</p>", Text(host))
}

/// What somebody is told who can't go on.
pub(super) fn told(status: StatusCode, title: &str, what: &str) -> Response {
    page(status, &Text(title).to_string(), &format!("<h1>{}</h1><p>{}</p>", Text(title), Text(what)), None)
}

/// A page of a title and a body in HTML, whose forms may lead to the origin of `back`, besides this one: browsers hold also the
/// answers to forms to that.
fn page(status: StatusCode, title: &str, body: &str, back: Option<&str>) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>"
    );
    let mut answer = unstored((status, axum::response::Html(html)).into_response());
    let style = &*STYLE_HASH;
    let leads_to = back.map(source).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self' {leads_to}; base-uri 'none'; frame-ancestors 'none'"
    );
    let headers = answer.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With `no-referrer` browsers would hide the origin of our own forms from us.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Text within HTML, also within quotation marks.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            // Direction marks could show a name as another one.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Ok(()),
            char if char.is_control() => Ok(()),
            char => write!(f, "{char}"),
        })
    }
}
