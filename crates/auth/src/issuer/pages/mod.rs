//! Pages for people: without scripts, without anything from elsewhere, everything escaped.

use std::{fmt, sync::LazyLock};

use aws_lc_rs::digest;
use axum::response::{IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};

use super::{client::Client, refused::unstored, users::User};

const STYLE: &str = include_str!("style.css");

static STYLE_HASH: LazyLock<String> =
    LazyLock::new(|| STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes())));

/// Where somebody gives a password.
#[derive(Debug)]
pub(super) struct Login<'a> {
    pub(super) client: &'a Client,
    /// What the form has to send back.
    pub(super) token: &'a str,
    pub(super) login: &'a str,
    pub(super) alert: Option<String>,
}

impl Login<'_> {
    pub(super) fn page(&self, status: StatusCode, leads_to: &str) -> Response {
        let alert =
            self.alert.as_ref().map(|alert| format!("<p class=\"alert\" role=\"alert\">{}</p>", Text(alert)));
        let (on_login, on_password) =
            if self.login.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
        let body = format!(
            "<h1>Log in to {client}</h1>{alert}\
             <form method=\"post\"><input type=\"hidden\" name=\"form_token\" value=\"{token}\">\
             <label for=\"login\">User name</label>\
             <input id=\"login\" name=\"login\" value=\"{login}\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"200\" required{on_login}>\
             <label for=\"password\">Password</label>\
             <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" maxlength=\"256\" required{on_password}>\
             <button class=\"first\" name=\"action\" value=\"login\">Log in</button>\
             <button name=\"action\" value=\"cancel\" formnovalidate>Cancel</button></form>",
            client = Text(self.client.name()),
            alert = alert.unwrap_or_default(),
            token = Text(self.token),
            login = Text(self.login),
        );
        page(status, "Log in", &body, leads_to)
    }
}

/// Where somebody says what a client may.
#[derive(Debug)]
pub(super) struct Consent<'a> {
    pub(super) client: &'a Client,
    pub(super) user: &'a User,
    pub(super) scopes: &'a [String],
    pub(super) audiences: &'a [String],
    pub(super) token: &'a str,
}

impl Consent<'_> {
    pub(super) fn page(&self, leads_to: &str) -> Response {
        let told = |scope: &String| match scope.as_str() {
            "openid" => "<li>know who you are</li>".to_owned(),
            "profile" => "<li>see your name</li>".to_owned(),
            "email" => "<li>see your e-mail address</li>".to_owned(),
            "offline_access" => "<li>do this when you are not there</li>".to_owned(),
            other => format!("<li><code>{}</code></li>", Text(other)),
        };
        let scopes: String = self.scopes.iter().map(told).collect();
        let audiences = match self.audiences {
            [] => String::new(),
            some => format!("<p>It does so at <strong>{}</strong>.</p>", Text(&some.join(", "))),
        };
        let body = format!(
            "<h1>{client} asks to act for you</h1>\
             <p class=\"note\">You are logged in as <strong>{login}</strong>.</p>\
             <p>If you allow it, it may:</p><ul>{scopes}</ul>{audiences}\
             <form method=\"post\"><input type=\"hidden\" name=\"form_token\" value=\"{token}\">\
             <button class=\"first\" name=\"action\" value=\"allow\">Allow</button>\
             <button name=\"action\" value=\"cancel\">Refuse</button>\
             <button name=\"action\" value=\"switch\">I am somebody else</button></form>",
            client = Text(self.client.name()),
            login = Text(&self.user.login),
            token = Text(self.token),
        );
        page(StatusCode::OK, "Allow?", &body, leads_to)
    }
}

/// Where somebody says whether to log out.
pub(super) fn logout(token: &str) -> Response {
    let body = format!(
        "<h1>Log out?</h1><form method=\"post\"><input type=\"hidden\" name=\"form_token\" value=\"{}\">\
         <button class=\"first\" name=\"action\" value=\"logout\">Log out</button></form>",
        Text(token)
    );
    page(StatusCode::OK, "Log out?", &body, "")
}

/// What somebody is told who can't go on.
pub(super) fn told(status: StatusCode, title: &str, what: &str) -> Response {
    page(status, title, &format!("<h1>{}</h1><p>{}</p>", Text(title), Text(what)), "")
}

/// A page whose forms may lead to the origin `leads_to`, besides this one: browsers hold also the answers to forms to that.
fn page(status: StatusCode, title: &str, body: &str, leads_to: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>",
        Text(title)
    );
    let mut answer = unstored((status, axum::response::Html(html)).into_response());
    let style = &*STYLE_HASH;
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
