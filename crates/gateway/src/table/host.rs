//! Which hosts a route is for.

/// A host as the configuration writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// This host, in lower case.
    Exact(Box<str>),
    /// Every host that ends in this, which starts with a dot.
    Below(Box<str>),
}

impl Host {
    /// Reads `example.com`, `[2001:db8::1]` or `*.example.com`; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        if let Some(suffix) = lower.strip_prefix('*') {
            return is_name(suffix.strip_prefix('.')?).then(|| Self::Below(suffix.into()));
        }
        let inner = lower.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let is_v6 = inner.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        (is_v6 || is_name(&lower)).then(|| Self::Exact(lower.into()))
    }
}

fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The host of an authority: without port and without the dot that a full name may end in.
pub(super) fn host_of(authority: &str) -> &str {
    let host = match authority.rfind(':') {
        // Inside of brackets the colon belongs to the address.
        Some(colon) if !authority.ends_with(']') => authority.get(..colon).unwrap_or(authority),
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_not_part_of_the_host() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("a.example:80", "a.example"),
            ("a.example.:80", "a.example"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host);
        }
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for text in ["", "*", "*.", "a..b", "http://a", "a/b", "a:80", "*a.example", "a.*.example", "[::g]"] {
            assert_eq!(Host::parse(text), None, "{text:?}");
        }
    }
}
