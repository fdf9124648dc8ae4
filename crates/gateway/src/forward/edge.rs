//! What the gateway tells services about who is calling: `Forwarded` (RFC 7239) and the `X-Forwarded-*` fields.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::identity::normal;
use crate::config;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that servers or frameworks believe, and that nobody but a trusted proxy may send. All that start with
/// `x-forwarded-` are treated the same.
const BELIEVED: [&str; 5] = ["x-real-ip", "x-client-ip", "true-client-ip", "x-original-url", "x-rewrite-url"];

/// What is known of the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// Its address; none where the connection has none, such as a Unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// The authority that it asked for.
    pub(crate) host: Option<&'a HeaderValue>,
    /// Whether its connection was encrypted.
    pub(crate) encrypted: bool,
}

/// Sets the forwarding fields.
pub(crate) fn tell(headers: &mut HeaderMap, caller: Caller<'_>, policy: config::Forwarded) {
    if policy == config::Forwarded::Overwrite {
        forget(headers);
    }
    let proto = if caller.encrypted { "https" } else { "http" };
    let (element, address) = element(caller, proto);
    if let Ok(element) = HeaderValue::from_maybe_shared(element) {
        // A list field: a line of its own is a member of its own.
        headers.append(header::FORWARDED, element);
    }
    if let Some(address) = address.and_then(|address| HeaderValue::from_maybe_shared(address).ok()) {
        headers.append(X_FORWARDED_FOR, address);
    }
    if let Some(host) = caller.host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(proto));
}

/// Removes what only a trusted proxy may say.
fn forget(headers: &mut HeaderMap) {
    headers.remove(header::FORWARDED);
    let believed: Vec<HeaderName> =
        headers.keys().filter(|name| is_believed(name.as_str())).cloned().collect();
    for name in believed {
        headers.remove(name);
    }
}

fn is_believed(name: &str) -> bool {
    let name = &*normal(name);
    name.starts_with("x-forwarded-") || BELIEVED.contains(&name)
}

/// One element of `Forwarded`, and the address in it; both share one allocation.
fn element(caller: Caller<'_>, proto: &str) -> (Bytes, Option<Bytes>) {
    let mut element = BytesMut::with_capacity(96);
    let address = caller.address.map(|address| {
        // RFC 7239 section 6: an IPv6 address stands in brackets, and so in quotes.
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let _ = write!(element, "for={ip};");
                4..element.len() - 1
            }
            IpAddr::V6(ip) => {
                let _ = write!(element, "for=\"[{ip}]\";");
                6..element.len() - 3
            }
        }
    });
    if let Some(host) = caller.host.filter(|host| is_quotable(host)) {
        element.extend_from_slice(b"host=\"");
        element.extend_from_slice(host.as_bytes());
        element.extend_from_slice(b"\";");
    }
    let _ = write!(element, "proto={proto}");
    let element = element.freeze();
    let address = address.map(|range| element.slice(range));
    (element, address)
}

/// Whether a value can stand between quotes as it is; an authority always can.
fn is_quotable(value: &HeaderValue) -> bool {
    value.as_bytes().iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        address: &str,
        host: &'static str,
        before: &[(&'static str, &str)],
        policy: config::Forwarded,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let host = HeaderValue::from_static(host);
        let caller = Caller { address: address.parse().ok(), host: Some(&host), encrypted: true };
        tell(&mut headers, caller, policy);
        headers
    }

    fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_caller_is_told_in_both_forms() {
        let v4 = told("192.0.2.7:4711", "shop.example:8080", &[], config::Forwarded::Overwrite);
        assert_eq!(all(&v4, "forwarded"), ["for=192.0.2.7;host=\"shop.example:8080\";proto=https"]);
        assert_eq!(all(&v4, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(all(&v4, "x-forwarded-host"), ["shop.example:8080"]);
        assert_eq!(all(&v4, "x-forwarded-proto"), ["https"]);
        let v6 = told("[2001:db8::1]:4711", "a", &[], config::Forwarded::Overwrite);
        assert_eq!(all(&v6, "forwarded"), ["for=\"[2001:db8::1]\";host=\"a\";proto=https"]);
        assert_eq!(all(&v6, "x-forwarded-for"), ["2001:db8::1"]);
        let mapped = told("[::ffff:192.0.2.7]:1", "a", &[], config::Forwarded::Overwrite);
        assert_eq!(all(&mapped, "x-forwarded-for"), ["192.0.2.7"]);
    }

    #[test]
    fn nobody_can_pretend_to_be_a_proxy() {
        let headers = told(
            "192.0.2.7:1",
            "a",
            &[
                ("forwarded", "for=10.0.0.1"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-user", "root"),
                ("x-real-ip", "10.0.0.1"),
                ("x-original-url", "/admin"),
                ("x_forwarded_for", "10.0.0.1"),
                ("x_real_ip", "10.0.0.1"),
            ],
            config::Forwarded::Overwrite,
        );
        assert_eq!(all(&headers, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(all(&headers, "x-forwarded-proto"), ["https"]);
        for name in ["x-forwarded-user", "x-real-ip", "x-original-url", "x_forwarded_for", "x_real_ip"] {
            assert!(all(&headers, name).is_empty(), "{name}");
        }
        assert_eq!(all(&headers, "forwarded").len(), 1);
    }

    #[test]
    fn behind_a_trusted_proxy_its_word_is_kept() {
        let before =
            [("forwarded", "for=10.0.0.1"), ("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "http")];
        let headers = told("192.0.2.7:1", "a", &before, config::Forwarded::Append);
        assert_eq!(all(&headers, "x-forwarded-for"), ["10.0.0.1", "192.0.2.7"]);
        assert_eq!(all(&headers, "forwarded").len(), 2);
        assert_eq!(all(&headers, "x-forwarded-proto"), ["http"]);
    }

    #[test]
    fn what_is_not_an_authority_does_not_leave_its_quotes() {
        let headers = told("192.0.2.7:1", "a\";for=10.0.0.1;x=\"", &[], config::Forwarded::Overwrite);
        assert_eq!(all(&headers, "forwarded"), ["for=192.0.2.7;proto=https"]);
    }
}
