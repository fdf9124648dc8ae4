//! Fields that belong to one connection end at it: RFC 9110 section 7.6.1.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Fields of the connection, whether `Connection` names them or not. `Trailer` is not among them; credentials for a
/// proxy are for the proxy that asked for them, which is this one (RFC 9110 section 11.7).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("http2-settings"),
];

/// Removes the fields of the connection, and those that `Connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether the sender takes trailers; gRPC servers want to be told so.
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let is_trailers = |member: &[u8]| {
        let coding = member.split(|byte| *byte == b';').next().unwrap_or_default();
        coding.trim_ascii().eq_ignore_ascii_case(b"trailers")
    };
    headers.get_all(header::TE).iter().any(|value| members(value).any(is_trailers))
}

/// Says that we take trailers.
pub(crate) fn take_trailers(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
}

/// Whether the request asks for another protocol on its connection.
pub(crate) fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = |member: &[u8]| member.trim_ascii().eq_ignore_ascii_case(b"upgrade");
    headers.contains_key(header::UPGRADE)
        && headers.get_all(header::CONNECTION).iter().any(|value| members(value).any(upgrade))
}

/// Fields that only `Connection` makes hop-by-hop. Allocates nothing for what clients usually send.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for member in members(value) {
            let usual: [&[u8]; 4] = [b"keep-alive", b"close", b"upgrade", b"te"];
            if usual.iter().any(|usual| member.eq_ignore_ascii_case(usual)) {
                continue;
            }
            names.extend(HeaderName::from_bytes(member));
        }
    }
    names
}

fn members(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn fields_of_the_connection_and_those_it_names_are_removed() {
        let mut headers = headers(&[
            ("connection", "close, X-One"),
            ("connection", "x-two,, not a name"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic abc"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "abc"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("trailer", "x-sum"),
        ]);
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["trailer", "x-three"]);
    }

    #[test]
    fn trailers_are_taken_where_te_says_so() {
        assert!(takes_trailers(&headers(&[("te", "gzip;q=0.5, Trailers;q=1")])));
        assert!(!takes_trailers(&headers(&[("te", "gzip")])));
        assert!(!takes_trailers(&headers(&[("trailer", "trailers")])));
    }

    #[test]
    fn an_upgrade_needs_both_fields() {
        assert!(asks_for_upgrade(&headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket")
        ])));
        assert!(!asks_for_upgrade(&headers(&[("upgrade", "websocket")])));
        assert!(!asks_for_upgrade(&headers(&[("connection", "upgrade")])));
    }
}
