//! Who may change something here.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::{header, request::Parts, uri::Authority};

use crate::{Error, Result, error::Kind, server::Connection};

/// Extractor for routes that change something: lets through who is on this machine, as far as can be told, and answers
/// others with 403. The connection comes from loopback, no proxy handed the request on, and no page of a browser sent it,
/// not one either that was led here by a name of its own (DNS rebinding).
///
/// ```
/// use mainstay_core::admin::Nearby;
///
/// let reset = axum::routing::post(async |_: Nearby| "done\n");
/// # let _: axum::routing::MethodRouter = reset;
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Nearby;

/// What a proxy or a browser adds.
const HANDED_ON: [&str; 7] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "origin", "sec-fetch-site"];

impl<S: Sync> FromRequestParts<S> for Nearby {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let peer = parts.extensions.get::<Connection>().and_then(Connection::remote);
        let is_near = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        let is_direct = !HANDED_ON.iter().any(|name| parts.headers.contains_key(*name));
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = parts.uri.authority().map(Authority::as_str).or(host);
        if is_near && is_direct && host.is_some_and(is_this_machine) {
            return Ok(Self);
        }
        Err(Error::new(Kind::PermissionDenied)
            .with_detail("only for callers on this machine, by its loopback address"))
    }
}

fn is_this_machine(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_loopback_are_this_machine() {
        for authority in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090", "127.9.9.9"] {
            assert!(is_this_machine(authority), "{authority}");
        }
        for authority in
            ["", "evil.example:9090", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", "@"]
        {
            assert!(!is_this_machine(authority), "{authority}");
        }
    }

    #[tokio::test]
    async fn who_can_not_be_told_is_refused() {
        let (mut parts, ()) = http::Request::get("http://localhost/").body(()).unwrap().into_parts();
        let refused = Nearby::from_request_parts(&mut parts, &()).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::PermissionDenied);
    }
}
