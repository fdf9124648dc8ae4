//! `Via`, RFC 9110 section 7.6.3: who passed the message on, and whether it goes in circles.

use http::{HeaderMap, HeaderValue, Version, header};

/// How often a request may come through the same gateway before it is taken for a loop. More than once is honest
/// where a service calls another one through the gateway.
const MOST: usize = 8;

/// The member of `Via` that names this gateway, for each protocol version.
#[derive(Debug, Clone)]
pub(crate) struct Via {
    name: Box<str>,
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// `None` where `name` is not a token: RFC 9110 section 5.6.2; and it starts with a letter, for `Proxy-Status`
    /// (RFC 9651 section 3.3.4).
    pub(crate) fn new(name: &str) -> Option<Self> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.bytes().all(token) {
            return None;
        }
        let value = |version: &str| HeaderValue::try_from(format!("{version} {name}")).ok();
        Some(Self { name: name.into(), http10: value("1.0")?, http11: value("1.1")?, http2: value("2")? })
    }

    /// What the gateway is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Adds this gateway to a message that came over `version`.
    pub(crate) fn add(&self, headers: &mut HeaderMap, version: Version) {
        let value = match version {
            Version::HTTP_09 | Version::HTTP_10 => &self.http10,
            Version::HTTP_11 => &self.http11,
            _ => &self.http2,
        };
        headers.append(header::VIA, value.clone());
    }

    /// Whether the request came through here too often.
    pub(crate) fn is_loop(&self, headers: &HeaderMap) -> bool {
        let here = |member: &&[u8]| {
            let received_by = member.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1);
            received_by.is_some_and(|by| by.eq_ignore_ascii_case(self.name.as_bytes()))
        };
        let members = headers
            .get_all(header::VIA)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        members.filter(here).count() >= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_goes_in_circles_is_noticed() {
        let via = Via::new("edge").unwrap();
        let mut headers = HeaderMap::new();
        for round in 0..MOST {
            assert!(!via.is_loop(&headers), "round {round}");
            via.add(&mut headers, Version::HTTP_11);
        }
        assert!(via.is_loop(&headers));
        let mut folded = HeaderMap::new();
        folded.insert(header::VIA, HeaderValue::try_from(["1.1 edge (x)"; MOST].join(", ")).unwrap());
        assert!(via.is_loop(&folded));
        let mut others = HeaderMap::new();
        others.insert(header::VIA, HeaderValue::try_from(["1.1 other"; 99].join(",")).unwrap());
        assert!(!via.is_loop(&others));
    }

    #[test]
    fn a_name_is_a_token() {
        for name in ["", "a b", "1a", "a\"", "ä", "a,b", "a;b"] {
            assert!(Via::new(name).is_none(), "{name:?}");
        }
    }
}
