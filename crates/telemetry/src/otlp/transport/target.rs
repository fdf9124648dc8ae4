use std::fmt;

use http::{Uri, uri::Scheme};

use super::Protocol;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Target {
    is_tls: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    /// Of a URL `http://…` or `https://…`, without user, query and fragment.
    pub(in super::super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.trim().parse().ok()?;
        let is_tls = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTP => false,
            scheme if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || uri.query().is_some() || url.contains('#') {
            return None;
        }
        let host = authority.host().trim_matches(['[', ']']);
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" if is_tls => 443,
            "" => 80,
            port => port.strip_prefix(':')?.parse().ok()?,
        };
        (!host.is_empty()).then(|| Self {
            is_tls,
            host: host.to_owned(),
            port,
            authority: authority.to_string(),
            path: uri.path().to_owned(),
        })
    }

    /// With this behind its path.
    pub(in super::super) fn below(mut self, path: &str) -> Self {
        let base = self.path.trim_end_matches('/');
        self.path = format!("{base}/{path}");
        self
    }

    pub(in super::super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(in super::super) fn path(&self) -> &str {
        &self.path
    }

    /// As HTTP/1.1 wants it, or whole for HTTP/2.
    pub(super) fn uri(&self, protocol: Protocol) -> String {
        match protocol {
            Protocol::Http => self.path.clone(),
            Protocol::Grpc => {
                let scheme = if self.is_tls { "https" } else { "http" };
                format!("{scheme}://{}{}", self.authority, self.path)
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let target = Target::parse("https://collector.example/base/").unwrap();
        assert_eq!((target.host(), target.port(), target.is_tls()), ("collector.example", 443, true));
        assert_eq!(target.below("v1/traces").path(), "/base/v1/traces");
        let target = Target::parse("http://[::1]:4318").unwrap();
        assert_eq!((target.host(), target.port()), ("::1", 4318));
        assert_eq!(target.below("v1/traces").to_string(), "http://[::1]:4318/v1/traces");
    }

    #[test]
    fn what_is_no_url_of_a_receiver_is_none() {
        for wrong in [
            "",
            "collector:4317",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a?b",
            "http://a/#b",
            "http://a:70000",
            "/v1/traces",
        ] {
            assert_eq!(Target::parse(wrong), None, "{wrong}");
        }
    }
}
