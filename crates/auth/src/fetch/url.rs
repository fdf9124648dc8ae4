use std::{fmt, net::IpAddr};

use http::{Uri, uri::Scheme};

/// Where a document of an issuer is: `https://…`, or `http://…` where that is bearable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    is_tls: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Url {
    /// Of a URL with a host and without user and fragment.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_tls = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTPS => true,
            scheme if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || text.contains('#') {
            return None;
        }
        let host = authority.host().trim_matches(['[', ']']);
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" if is_tls => 443,
            "" => 80,
            port => port.strip_prefix(':')?.parse().ok()?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        (!host.is_empty()).then(|| Self {
            is_tls,
            host: host.to_owned(),
            port,
            authority: authority.to_string(),
            path: path.to_owned(),
        })
    }

    /// Without a query and with `path` behind its own (OpenID Connect Discovery section 4).
    pub(super) fn with_suffix(&self, path: &str) -> Self {
        let own = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { path: format!("{own}{path}"), ..self.clone() }
    }

    /// With `path` between host and its own path (RFC 8414 section 3.1).
    pub(crate) fn with_prefix(&self, path: &str) -> Self {
        let own = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { path: format!("{path}{own}"), ..self.clone() }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether nobody else can listen: TLS, or this machine.
    pub(crate) fn is_private(&self) -> bool {
        let is_loopback = self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        self.is_tls || is_loopback || self.host == "localhost"
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Scheme and authority.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority, self.path)
    }
}

/// Tells what is wrong with `url`, from which something is fetched.
pub(crate) fn wrong_url(key: &str, url: &str, allow_http: bool, reject: &mut impl FnMut(&str, &str)) {
    match Url::parse(url) {
        None => reject(key, "a URL with host, such as `https://id.example`"),
        Some(url) if !url.is_private() && !allow_http => {
            reject(key, "an `https` URL, or `allow_http = true`");
        }
        Some(url) if url.is_tls() && !cfg!(feature = "tls") => {
            reject(key, "a program with the feature `tls`, for `https`");
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_it_is_displayed() {
        for text in ["https://id.example/a/b?c=d", "http://[::1]:80/", "https://id.example:8443/"] {
            assert_eq!(Url::parse(text).unwrap().to_string(), text);
        }
        for text in ["id.example", "ftp://a/", "https://u@a/", "https://a/#f", "https://a:x/", "", "/a"] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[test]
    fn well_known_documents_are_behind_the_path_or_before_it() {
        let issuer = Url::parse("https://id.example/tenant/").unwrap();
        let openid = issuer.with_suffix("/.well-known/openid-configuration");
        assert_eq!(openid.path(), "/tenant/.well-known/openid-configuration");
        let oauth = issuer.with_prefix("/.well-known/oauth-authorization-server");
        assert_eq!(oauth.path(), "/.well-known/oauth-authorization-server/tenant");
        let bare = Url::parse("https://id.example").unwrap();
        assert_eq!(bare.with_prefix("/.well-known/x").path(), "/.well-known/x");
    }

    #[test]
    fn only_this_machine_is_private_without_tls() {
        for (text, expected) in [
            ("http://127.0.0.2:1/", true),
            ("http://[::1]/", true),
            ("http://localhost/", true),
            ("https://id.example/", true),
            ("http://id.example/", false),
            ("http://localhost.id.example/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(Url::parse(text).unwrap().is_private(), expected, "{text}");
        }
    }
}
