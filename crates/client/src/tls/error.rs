//! Why there is no TLS with an endpoint, in words that say what to change.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};

/// No TLS with the endpoint.
#[derive(Debug, thiserror::Error)]
#[error("no TLS with `{name}`: {reason}")]
pub(crate) struct NoTls {
    name: String,
    reason: String,
}

impl NoTls {
    pub(super) fn new(name: &str, reason: impl Into<String>) -> Self {
        Self { name: name.to_owned(), reason: reason.into() }
    }

    pub(super) fn from_handshake(name: &str, error: &io::Error) -> Self {
        let reason = match of(error) {
            Some(rustls::Error::InvalidCertificate(error)) => certificate(error),
            Some(rustls::Error::AlertReceived(alert)) => refusal(*alert),
            Some(error) => error.to_string(),
            None => format!("the handshake broke off: {error}"),
        };
        Self::new(name, reason)
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by an authority that is not known here; `client.tls.ca_file` names those that are"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            let names = presented.join(", ");
            format!("its certificate is for {names}; `client.tls.server_name` says which name is expected")
        }
        other => format!("its certificate is not valid: {other}"),
    }
}

/// RFC 8446 section 6.2.
fn refusal(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it wants a certificate, which `client.tls.certificate_file` names".to_owned()
        }
        AlertDescription::NoApplicationProtocol => "it doesn't speak this version of HTTP".to_owned(),
        other => format!("it refused the handshake: {other:?}"),
    }
}

/// The words of a peer that did not end its side of the handshake, if that is what `error` says. In TLS 1.3 a client
/// may send before it hears of that: nothing of what was sent was looked at.
pub(crate) fn refused(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if let Some(rustls::Error::AlertReceived(alert)) = io.and_then(of) {
            return is_of_handshake(*alert).then(|| refusal(*alert));
        }
        next = error.source();
    }
    None
}

fn is_of_handshake(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

fn of(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
