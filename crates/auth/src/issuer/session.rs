//! Who is logged in, by a cookie of the browser.

use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::{Provider, refused::Refused, secret, store::Kind, users::User};

/// A login, as the store has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) subject: String,
    /// When the password was given.
    pub(super) authenticated: u64,
}

/// Cookies of the provider.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cookie {
    /// Who is logged in.
    Session,
    /// What forms of this browser have to know.
    Form,
}

impl Provider {
    /// The login of this browser, and the name of its record.
    pub(super) async fn session(&self, headers: &HeaderMap) -> Result<Option<(Session, String)>, Refused> {
        let Some(value) = self.cookie(headers, Cookie::Session) else { return Ok(None) };
        let name = secret::hashed(value);
        let found = self.store().get::<Session>(Kind::Session, &name, self.now()).await?;
        let Some(session) = found.map(|found| found.value) else { return Ok(None) };
        // Somebody who was removed is not logged in.
        let user = self.0.users.logged_in(&session.subject, session.authenticated).await?;
        Ok(user.map(|_| (session, name)))
    }

    /// Begins a login, under a name that nobody knew before; gives its cookie.
    pub(super) async fn begin_session(
        &self,
        headers: &HeaderMap,
        user: &User,
    ) -> Result<(Session, HeaderValue), Refused> {
        self.end_session(headers).await?;
        let value = secret::random()?;
        let (now, lasts) = (self.now(), self.0.config.session.as_secs());
        // The password may come from a machine whose clock is ahead.
        let session = Session { subject: user.subject.clone(), authenticated: now.max(user.since) };
        self.store().insert(Kind::Session, &secret::hashed(&value), &session, now + lasts, now).await?;
        Ok((session, self.set_cookie(Cookie::Session, &value, lasts)))
    }

    /// Ends the login of this browser.
    pub(super) async fn end_session(&self, headers: &HeaderMap) -> Result<(), Refused> {
        if let Some(value) = self.cookie(headers, Cookie::Session) {
            self.store().remove(Kind::Session, &secret::hashed(value)).await?;
        }
        Ok(())
    }

    pub(super) fn cookie<'a>(&self, headers: &'a HeaderMap, cookie: Cookie) -> Option<&'a str> {
        let name = self.cookie_name(cookie);
        let pairs = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        let mut values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(has, _)| *has == name);
        let value = values.next()?.1;
        // Two of them: one was put there by somebody else.
        (values.next().is_none() && value.len() <= 100).then_some(value)
    }

    /// For this origin alone, and not for scripts; sent along when somebody comes from another site by a link.
    pub(super) fn set_cookie(&self, cookie: Cookie, value: &str, lasts: u64) -> HeaderValue {
        let secure = if self.is_https() { "; Secure" } else { "" };
        let name = self.cookie_name(cookie);
        let text = format!("{name}={value}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }

    /// With the prefix that browsers take from this origin alone (RFC 6265bis section 4.1.3.2).
    fn cookie_name(&self, cookie: Cookie) -> &'static str {
        match (cookie, self.is_https()) {
            (Cookie::Session, true) => "__Host-mainstay-session",
            (Cookie::Session, false) => "mainstay-session",
            (Cookie::Form, true) => "__Host-mainstay-form",
            (Cookie::Form, false) => "mainstay-form",
        }
    }

    fn is_https(&self) -> bool {
        self.issuer().starts_with("https:")
    }
}
