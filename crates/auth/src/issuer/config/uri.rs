//! URIs that people are sent to.

use crate::fetch::Url;

const LONGEST: usize = 2048;

/// An absolute URI without fragment (RFC 3986 section 4.3).
pub(in crate::issuer) fn is_absolute(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_printed = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte));
    is_scheme && is_printed && !rest.is_empty() && text.len() <= LONGEST
}

/// Whether people may be sent there with a code (RFC 9700 section 2.6, RFC 8252 section 7).
pub(super) fn is_redirection(text: &str) -> bool {
    if !is_absolute(text) {
        return false;
    }
    match text.split_once(':') {
        Some(("https", _)) => Url::parse(text).is_some(),
        Some(("http", _)) => Url::parse(text).is_some_and(|url| url.is_private()),
        // RFC 8252 section 7.1: the name of a domain, backwards; `javascript:` and its kin have no dot.
        Some((scheme, _)) => scheme.contains('.'),
        None => false,
    }
}

/// Whether `asked` is the URI that is registered (RFC 9700 section 2.1), on loopback with whatever port (RFC 8252 section 7.3).
pub(in crate::issuer) fn is_redirection_to(registered: &str, asked: &str) -> bool {
    registered == asked
        || match (without_port(registered), without_port(asked)) {
            (Some(registered), Some(asked)) => registered == asked,
            _ => false,
        }
}

/// The host of a loopback address, and what follows the port.
fn without_port(uri: &str) -> Option<(&str, &str)> {
    let host = ["http://127.0.0.1", "http://[::1]"].into_iter().find(|host| uri.starts_with(host))?;
    let rest = uri.strip_prefix(host)?;
    let rest = match rest.strip_prefix(':') {
        Some(port) => {
            let (port, rest) = port.split_at(port.find(|c: char| !c.is_ascii_digit()).unwrap_or(port.len()));
            port.parse::<u16>().ok()?;
            rest
        }
        None => rest,
    };
    // Otherwise `http://127.0.0.1.example` would be on loopback.
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_to_what_is_registered_and_nowhere_near() {
        let registered = "https://app.example/back?a=b";
        assert!(is_redirection_to(registered, registered));
        for other in [
            "https://app.example/back?a=b&c=d",
            "https://app.example/back",
            "https://app.example/back/?a=b",
            "https://app.example:443/back?a=b",
            "https://APP.example/back?a=b",
            "https://app.example/%62ack?a=b",
            "https://app.example.evil/back?a=b",
            "http://app.example/back?a=b",
        ] {
            assert!(!is_redirection_to(registered, other), "{other}");
        }
    }

    #[test]
    fn on_loopback_the_port_is_free_and_nothing_else() {
        let registered = "http://127.0.0.1/back";
        for same in ["http://127.0.0.1:1/back", "http://127.0.0.1:65535/back", "http://127.0.0.1/back"] {
            assert!(is_redirection_to(registered, same), "{same}");
        }
        for other in [
            "http://127.0.0.1:65536/back",
            "http://127.0.0.1:/back",
            "http://127.0.0.1:1@evil.example/back",
            "http://127.0.0.1.evil.example/back",
            "http://127.0.0.1:1/back/",
            "http://[::1]:1/back",
            "http://localhost/back",
            "https://127.0.0.1:1/back",
        ] {
            assert!(!is_redirection_to(registered, other), "{other}");
        }
        assert!(!is_redirection_to("http://localhost:1/", "http://localhost:2/"));
    }

    #[test]
    fn nobody_registers_what_runs_or_what_others_read() {
        for uri in
            ["https://a.example/b", "http://localhost:3000/", "http://[::1]/x", "com.example.app:/back"]
        {
            assert!(is_redirection(uri), "{uri}");
        }
        for uri in [
            "http://a.example/b",
            "javascript:alert(1)",
            "data:text/html,x",
            "/back",
            "https:",
            "https://a.example/#f",
            "https://a.example/ b",
            "https://u@a.example/",
            "",
        ] {
            assert!(!is_redirection(uri), "{uri}");
        }
    }
}
