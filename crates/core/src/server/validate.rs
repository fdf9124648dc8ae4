//! What RFC 9110, 9112 and 9113 want of a request and hyper leaves to its user. The clauses are listed in
//! `docs/server.md`.

use std::net::Ipv6Addr;

use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header, uri::Authority};

use super::worker::Limits;
use crate::error::{Error, Kind};

/// Refuses a request that is not well-formed; brings the well-formed ones into the one form that services see.
pub(super) fn check<B>(request: &mut Request<B>, limits: &Limits, seen: &mut SeenHost) -> Result<(), Error> {
    if target_length(request.uri()) > limits.max_uri_bytes {
        return Err(Error::new(Kind::UriTooLong).with_detail("the request target is too long"));
    }
    if request.headers().len() > limits.max_headers {
        return Err(
            Error::new(Kind::HeaderFieldsTooLarge).with_detail("the request has too many header fields")
        );
    }
    if request.version() >= Version::HTTP_2 { http2(request, seen) } else { http1(request, seen) }
}

/// The host of the last request of a connection: it was found well-formed, and the next one nearly always has the same.
#[derive(Default)]
pub(super) struct SeenHost(Vec<u8>);

impl SeenHost {
    /// Longer ones are looked at each time, and cost no memory.
    const LONGEST: usize = 128;

    fn is_authority(&mut self, text: &[u8]) -> bool {
        if text == self.0 && !text.is_empty() {
            return true;
        }
        let valid = is_authority(text);
        if valid && text.len() <= Self::LONGEST {
            self.0.clear();
            self.0.extend_from_slice(text);
        }
        valid
    }
}

fn target_length(uri: &Uri) -> usize {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    path + uri.authority().map_or(0, |authority| authority.as_str().len())
}

fn malformed(detail: &'static str) -> Error {
    Error::new(Kind::InvalidArgument).with_detail(detail)
}

fn http1<B>(request: &mut Request<B>, seen: &mut SeenHost) -> Result<(), Error> {
    match single(request.headers(), header::HOST)? {
        Some(host) if seen.is_authority(host.as_bytes()) => {}
        Some(_) => return Err(malformed("the Host field is not a host with an optional port")),
        // RFC 9112 section 3.2: HTTP/1.0 has no such duty.
        None if request.version() <= Version::HTTP_10 => {}
        None => return Err(malformed("the Host field is missing")),
    }
    let (method, uri) = (request.method(), request.uri());
    match (uri.scheme_str(), uri.authority()) {
        // Origin form, section 3.2.1, and asterisk form, section 3.2.4.
        (None, None) => match uri.path() {
            _ if method == Method::CONNECT => {
                Err(malformed("the target of CONNECT is not a host and a port"))
            }
            path if path.starts_with('/') => Ok(()),
            "*" if method == Method::OPTIONS => Ok(()),
            _ => Err(malformed("the request target is not a path")),
        },
        // Authority form, section 3.2.3: a host and a port, nothing else.
        (None, Some(authority)) => {
            if method != Method::CONNECT {
                return Err(malformed("only CONNECT takes an authority as its target"));
            }
            if uri.path_and_query().is_some() || !is_authority(authority.as_str().as_bytes()) {
                return Err(malformed("the target of CONNECT is not a host and a port"));
            }
            if authority.port_u16().is_none() {
                return Err(malformed("the target of CONNECT has no port"));
            }
            Ok(())
        }
        // Absolute form, section 3.2.2: its authority is what counts, the Host field is ignored.
        (Some("http" | "https"), Some(authority)) if method != Method::CONNECT => {
            if !is_authority(authority.as_str().as_bytes()) {
                return Err(malformed(
                    "the authority of the request target is not a host with an optional port",
                ));
            }
            let host = HeaderValue::from_str(authority.as_str())
                .map_err(|_| malformed("the authority of the request target is not a host"))?;
            request.headers_mut().insert(header::HOST, host);
            Ok(())
        }
        _ if method == Method::CONNECT => Err(malformed("the target of CONNECT is not a host and a port")),
        _ => Err(malformed("the scheme of the request target is neither http nor https")),
    }
}

/// The value of a field that may be there once.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&HeaderValue>, Error> {
    // Nearly always no field is repeated, and then this one isn't.
    if headers.keys_len() != headers.len() && headers.get_all(&name).iter().nth(1).is_some() {
        return Err(malformed("there is more than one Host field"));
    }
    Ok(headers.get(name))
}

fn http2<B>(request: &mut Request<B>, seen: &mut SeenHost) -> Result<(), Error> {
    // h2 has refused connection-specific fields, `te` other than `trailers`, unknown, repeated and late pseudo-fields.
    let (method, uri) = (request.method(), request.uri());
    let host = single(request.headers(), header::HOST)?;
    if host.is_some_and(|host| !is_authority(host.as_bytes())) {
        return Err(malformed("the Host field is not a host with an optional port"));
    }
    match uri.authority() {
        Some(authority) => {
            if !seen.is_authority(authority.as_str().as_bytes()) {
                return Err(malformed(":authority is not a host with an optional port"));
            }
            // RFC 9113 section 8.3.1.
            if host.is_some_and(|host| !same_host(authority, host, uri.scheme_str())) {
                return Err(malformed(":authority and the Host field name different hosts"));
            }
        }
        None if method == Method::CONNECT => return Err(malformed("CONNECT has no :authority")),
        None if host.is_none() => return Err(malformed("there is neither :authority nor a Host field")),
        None => {}
    }
    if method == Method::CONNECT && uri.scheme().is_none() {
        return Ok(());
    }
    if !matches!(uri.scheme_str(), Some("http" | "https") | None) {
        return Err(malformed(":scheme is neither http nor https"));
    }
    match uri.path() {
        path if path.starts_with('/') => {}
        "*" if method == Method::OPTIONS => {}
        _ => return Err(malformed(":path is not a path")),
    }
    if request.headers().keys_len() != request.headers().len() {
        join_cookies(request.headers_mut());
    }
    Ok(())
}

/// RFC 9113 section 8.2.3: crumbs become one field before anybody sees them who doesn't speak HTTP/2.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Parts of field values, and what joins them, are a field value.
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

fn same_host(authority: &Authority, host: &HeaderValue, scheme: Option<&str>) -> bool {
    let default_port: &[u8] = if scheme == Some("https") { b":443" } else { b":80" };
    let strip = |text| <[u8]>::strip_suffix(text, default_port).unwrap_or(text);
    strip(authority.as_str().as_bytes()).eq_ignore_ascii_case(strip(host.as_bytes()))
}

/// `uri-host [ ":" port ]` of RFC 9110 section 7.2, with a host that is not empty (section 4.2.1) and without userinfo
/// (section 4.2.4).
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = if text.first() == Some(&b'[') {
        let Some(end) = text.iter().position(|byte| *byte == b']') else { return false };
        let (literal, rest) = text.split_at(end + 1);
        let port = match rest {
            [] => None,
            [b':', port @ ..] => Some(port),
            _ => return false,
        };
        return is_ip_literal(literal.get(1..end).unwrap_or_default()) && port.is_none_or(is_port);
    } else {
        match text.iter().position(|byte| *byte == b':') {
            Some(colon) => (text.get(..colon).unwrap_or_default(), text.get(colon + 1..)),
            None => (text, None),
        }
    };
    is_registered_name(host) && port.is_none_or(is_port)
}

/// RFC 3986 section 3.2.3 lets the port be empty.
fn is_port(text: &[u8]) -> bool {
    let mut port = 0u32;
    text.iter().all(|byte| {
        port = port * 10 + u32::from(byte.wrapping_sub(b'0'));
        byte.is_ascii_digit() && port <= 65_535
    })
}

fn is_ip_literal(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// `reg-name` of RFC 3986 section 3.2.2, which covers IPv4 addresses.
fn is_registered_name(name: &[u8]) -> bool {
    if name.iter().all(|byte| PLAIN[usize::from(*byte)]) {
        return !name.is_empty();
    }
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        let hex = |digit: Option<&u8>| digit.is_some_and(u8::is_ascii_hexdigit);
        let valid = PLAIN[usize::from(*byte)] || (*byte == b'%' && hex(bytes.next()) && hex(bytes.next()));
        if !valid {
            return false;
        }
    }
    true
}

/// The bytes of `unreserved` and `sub-delims` (RFC 3986 appendix A).
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~')
            || matches!(
                byte as u8,
                b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            );
        byte += 1;
    }
    plain
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_with_an_optional_port_are_taken() {
        for text in
            ["a", "a.example:80", "127.0.0.1", "[::1]", "[::1]:443", "a_b~c", "a%20b", "a:", "A:65535"]
        {
            assert!(is_authority(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let wrong = [
            "",
            ":80",
            "a b",
            "a/b",
            "user@a",
            "u:p@a",
            "a:b",
            "a:65536",
            "a:99999999999",
            "a:80:80",
            "[::1",
            "[]",
            "[::1]x",
            "[::1]:x",
            "[v1.x]",
            "a%2",
            "a%zz",
            "a?b",
            "a#b",
            "a\\b",
            "a,b:c",
            "\u{fc}",
            "a:-1",
            "a:+1",
            "http://a",
        ];
        for text in wrong {
            assert!(!is_authority(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_check(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if is_authority(&bytes) {
                prop_assert!(bytes.is_ascii() && !bytes.contains(&b'@') && !bytes.contains(&b'/'));
            }
        }
    }
}
