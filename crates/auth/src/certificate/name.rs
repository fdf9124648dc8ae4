//! What a certificate may call its owner.

/// The trust domain of a SPIFFE ID (SPIFFE-ID sections 2.1 to 2.4); `None` for what is none.
pub(super) fn trust_domain(id: &str) -> Option<&str> {
    if id.len() > 2048 {
        return None;
    }
    let rest = id.strip_prefix("spiffe://")?;
    let (domain, path) = rest.split_once('/')?;
    // An ID without a path is that of the trust domain itself, not of somebody in it.
    let is_segment = |segment: &str| {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(is_good)
    };
    (is_trust_domain(domain) && path.split('/').all(is_segment)).then_some(domain)
}

pub(super) fn is_trust_domain(domain: &str) -> bool {
    let is_good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    (1..=255).contains(&domain.len()) && domain.bytes().all(is_good)
}

/// A DNS name in lower case, without wildcards.
pub(super) fn is_dns(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(is_good)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Whether `name` is one of `allowed`, or below one that begins with a dot.
pub(super) fn is_allowed(name: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|allowed| match allowed.strip_prefix('.') {
        Some(_) => name.len() > allowed.len() && name.ends_with(allowed.as_str()),
        None => name == allowed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_names_its_trust_domain() {
        for (id, domain) in [
            ("spiffe://example.org/orders", "example.org"),
            ("spiffe://example.org/ns/shop/sa/Orders_1", "example.org"),
            ("spiffe://a_b-c.1/x", "a_b-c.1"),
        ] {
            assert_eq!(trust_domain(id), Some(domain), "{id}");
        }
        let long = format!("spiffe://example.org/{}", "x".repeat(2048));
        for id in [
            "",
            "spiffe://",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///orders",
            "SPIFFE://example.org/a",
            "https://example.org/a",
            "spiffe://Example.org/a",
            "spiffe://example.org:1/a",
            "spiffe://u@example.org/a",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/../a",
            "spiffe://example.org/./a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/%61",
            "spiffe://example.org/é",
            &long,
        ] {
            assert_eq!(trust_domain(id), None, "{id}");
        }
    }

    #[test]
    fn names_are_allowed_by_themselves_or_by_what_they_are_below() {
        let allowed = ["orders.example".to_owned(), ".svc.example".to_owned()];
        for (name, expected) in [
            ("orders.example", true),
            ("a.svc.example", true),
            ("a.b.svc.example", true),
            ("svc.example", false),
            (".svc.example", false),
            ("evilsvc.example", false),
            ("x.orders.example", false),
        ] {
            assert_eq!(is_allowed(name, &allowed), expected, "{name}");
        }
        assert!(
            is_dns("a-b.example")
                && !is_dns("*.example")
                && !is_dns("A.example")
                && !is_dns("a..b")
                && !is_dns("")
        );
    }
}
