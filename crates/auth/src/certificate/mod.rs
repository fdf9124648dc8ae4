//! Clients known by their certificates (mutual TLS): by the SPIFFE ID in it, or by its DNS name.
//!
//! ```toml
//! [server.tls]
//! client_certificates = "optional"      # or "required"; verified in the handshake, before anything is read
//! client_ca_file = "/etc/orders/clients.pem"
//!
//! [auth.certificates]
//! trust_domains = ["example.org"]       # spiffe://example.org/… is who it says
//! dns_names = [".svc.example.org"]      # and so are certificates for one such name
//! ```
//!
//! A certificate with a URI has to be an X.509-SVID: exactly one URI, which is a SPIFFE ID with a path. Names in the subject (CN) are
//! not looked at. A certificate that is for nobody here is as good as none: it may be there for the connection's sake alone. A token or a
//! key of the request goes before it.
//!
//! A token that is bound to a certificate (RFC 8705 section 3.1, `cnf` with `x5t#S256`) is good on connections with that certificate,
//! and refused on all others; nothing has to be configured for it.
//!
//! **When not to use it.** Behind what ends TLS, such as a gateway: it is the gateway's certificate that is seen. Header fields that
//! claim one are not believed. **Where it stands.** In the [`authenticate`](crate::authenticate) layer, for requests that came
//! over a connection of `mainstay_core::server`, which keeps what its certificate says; calls within a process have none. Validity is that of the handshake: a connection may
//! outlive its certificate by its own age at most (`server.bounds`).

mod config;
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only certificates have names"))]
mod name;

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Request;
use mainstay_core::server::Connection;
use serde_json::Value;

pub use self::config::Config;
use crate::Principal;

/// The verified certificate of who sent `request`, DER.
pub(crate) fn of<B>(request: &Request<B>) -> Option<&[u8]> {
    let certificates = request.extensions().get::<Connection>()?.client_certificates();
    certificates.first().map(AsRef::as_ref)
}

/// Who that is: read once a connection, whoever asks.
pub(crate) fn owner_of<B>(request: &Request<B>) -> Option<Arc<Option<Owner>>> {
    let connection = request.extensions().get::<Connection>()?;
    let certificate = connection.client_certificates().first()?;
    Some(connection.find_once(|| owner(certificate)))
}

/// SHA-256 of a certificate, as tokens are bound to it (RFC 8705 section 3.1).
pub(crate) type Thumbprint = [u8; 32];

pub(crate) fn thumbprint(certificate: &[u8]) -> Thumbprint {
    let hash = digest::digest(&digest::SHA256, certificate);
    let mut thumbprint = [0; 32];
    thumbprint.iter_mut().zip(hash.as_ref()).for_each(|(place, byte)| *place = *byte);
    thumbprint
}

/// The certificate that a token with this `cnf` is bound to; `None` where it is bound to something else, or more.
pub(crate) fn bound_to(confirmation: &Value) -> Option<Thumbprint> {
    let members = confirmation.as_object()?;
    let text = members.get("x5t#S256").filter(|_| members.len() == 1)?.as_str()?;
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// Who a certificate says that it is for, which has to be configured to be believed.
#[derive(Debug)]
pub(crate) struct Owner {
    principal: Principal,
    /// None for a DNS name.
    trust_domain: Option<String>,
}

impl Owner {
    /// Who it is, where `config` believes that.
    pub(crate) fn trusted_by(&self, config: &Config) -> Option<Principal> {
        let is_trusted = match &self.trust_domain {
            Some(domain) => config.trust_domains.contains(domain),
            None => {
                let name = self.principal.subject().unwrap_or_default();
                name::is_allowed(name, &config.dns_names)
            }
        };
        is_trusted.then(|| self.principal.clone())
    }
}

/// Whom a verified certificate is for; `None` where it does not name one, or is none.
#[cfg(feature = "tls")]
pub(crate) fn owner(certificate: &[u8]) -> Option<Owner> {
    use rustls::pki_types::CertificateDer;

    use crate::principal::{Identity, Means};

    let der = CertificateDer::from(certificate);
    let read = webpki::EndEntityCert::try_from(&der).ok()?;
    let mut uris = read.valid_uri_names();
    let (trust_domain, subject) = match uris.next() {
        Some(id) => {
            // X509-SVID section 2: exactly one URI.
            let domain = name::trust_domain(id).filter(|_| uris.next().is_none())?;
            (Some(domain.to_owned()), id.to_owned())
        }
        None => {
            let mut names = read.valid_dns_names();
            let name = names.next().filter(|_| names.next().is_none())?.to_ascii_lowercase();
            (None, Some(name).filter(|name| name::is_dns(name))?)
        }
    };
    let issuer = match &trust_domain {
        Some(domain) => format!("spiffe://{domain}"),
        None => "urn:mainstay:client-certificates".to_owned(),
    };
    let principal = Principal(Arc::new(Identity {
        issuer,
        client: Some(subject.clone()),
        subject: Some(subject),
        scopes: Vec::new(),
        roles: Vec::new(),
        expires: f64::INFINITY,
        claims: serde_json::Map::new(),
        means: Means::Certificate,
        bound: None,
    }));
    Some(Owner { principal, trust_domain })
}

/// Nobody: the configuration was refused.
#[cfg(not(feature = "tls"))]
pub(crate) fn owner(_: &[u8]) -> Option<Owner> {
    None
}
