//! Forms that only our own pages can send.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap, HeaderValue, header};
use mainstay_core::{config::Secret, server::Connection};

use crate::issuer::{Provider, form::Form, refused::Refused, secret, session::Cookie};

/// What a browser has in a cookie that only we read; forms of its pages have a hash of it, which other sites can't know.
#[derive(Debug)]
pub(in crate::issuer) struct Guard(Secret);

impl Guard {
    pub(in crate::issuer) fn of(provider: &Provider, headers: &HeaderMap) -> Option<Self> {
        let value = provider.cookie(headers, Cookie::Form).filter(|value| value.len() >= 43)?;
        Some(Self(value.into()))
    }

    /// A new one, and its cookie.
    pub(in crate::issuer) fn new(provider: &Provider) -> Result<(Self, HeaderValue), Refused> {
        const LASTS: u64 = 12 * 3600;
        let value = secret::random()?;
        let cookie = provider.set_cookie(Cookie::Form, &value, LASTS);
        Ok((Self(value.into()), cookie))
    }

    /// What its forms have.
    pub(in crate::issuer) fn token(&self) -> String {
        secret::hashed(&format!("form {}", self.0.expose()))
    }

    pub(in crate::issuer) fn lets_pass(&self, sent: &Form) -> bool {
        matches!(sent.one("form_token"), Ok(Some(token)) if secret::is_same(token, &self.token()))
    }
}

/// Whether the browser says that another site sends this.
pub(in crate::issuer) fn is_from_elsewhere(provider: &Provider, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin";
    }
    let own = super::origin(provider.issuer());
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes() != own.as_bytes())
}

/// Where a request comes from, where that is known: by our server, or by `into_make_service_with_connect_info` of axum.
pub(in crate::issuer) fn address(extensions: &Extensions) -> Option<IpAddr> {
    let own = extensions.get::<Connection>().and_then(Connection::remote);
    let of_axum = || extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    own.or_else(of_axum).map(|address| address.ip())
}
