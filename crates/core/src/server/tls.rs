//! TLS by rustls: ALPN, certificates that are taken up when their files change, client certificates.

use std::sync::Arc;

use bytes::Bytes;
use rustls::{ServerConfig, server::WebPkiClientVerifier};
use tokio::{net::TcpStream, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    ClientCertificates, Tls,
    connection::{Peer, Protocol},
    serve::wait,
    stats::Bound,
    transport::Transport,
    worker::Shared,
};
use crate::{
    error::Report,
    task::Tasks,
    tls::{Pem, Recipe, Reloaded, Unusable, provider},
};

/// What ends handshakes. Clones share the certificates.
#[derive(Debug, Clone)]
pub(super) struct Acceptor(Arc<Reloaded<Configured>>);

/// The settings.
#[derive(Debug)]
struct Configured(Tls);

/// The files, as they were read.
#[derive(PartialEq, Eq)]
struct Files {
    certificates: Pem,
    key: Pem,
    authorities: Option<Pem>,
}

impl Acceptor {
    /// Reads the files.
    pub(super) fn new(settings: &Tls) -> Result<Self, String> {
        match Reloaded::new(Configured(settings.clone())) {
            Ok(reloaded) => Ok(Self(Arc::new(reloaded))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Looks at the files now and then, as long as the handle lives.
    pub(super) fn reload_on_change(&self) -> Option<AbortOnDropHandle<()>> {
        let interval = self.0.recipe().0.reload_interval.0.get();
        if interval.is_zero() {
            return None;
        }
        let watch = Reloaded::watch(Arc::downgrade(&self.0), interval);
        Some(AbortOnDropHandle::new(Tasks::new().spawn_detached(watch)))
    }
}

impl Recipe for Configured {
    type Files = Files;
    type Made = ServerConfig;

    fn read(&self) -> Result<Files, Unusable> {
        let authorities = self.0.client_ca_file.as_ref();
        Ok(Files {
            authorities: authorities.map(|path| Pem::read("server.tls.client_ca_file", path)).transpose()?,
            certificates: Pem::read("server.tls.certificate_file", &self.0.certificate_file)?,
            key: Pem::read("server.tls.key_file", &self.0.key_file)?,
        })
    }

    fn make(&self, files: &Files) -> Result<ServerConfig, Unusable> {
        let Files { certificates, key, authorities } = files;
        let (chain, key) = (certificates.certificates()?, key.key()?);
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| certificates.unusable(error))?;
        let builder = match (self.0.client_certificates, authorities) {
            (ClientCertificates::None, _) | (_, None) => builder.with_no_client_auth(),
            (wanted, Some(authorities)) => {
                let roots = Arc::new(authorities.authorities()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match wanted {
                    ClientCertificates::Required => verifier,
                    _ => verifier.allow_unauthenticated(),
                };
                builder
                    .with_client_cert_verifier(verifier.build().map_err(|error| authorities.unusable(error))?)
            }
        };
        // Checks that the key belongs to the certificate.
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| certificates.unusable(error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Ends the handshake of `stream`; none when it failed, took too long, or the drain came first.
pub(super) async fn handshake(
    acceptor: &Acceptor,
    stream: TcpStream,
    mut peer: Peer,
    shared: &Shared,
) -> Option<(Transport, Peer, Option<Protocol>)> {
    let accepted = Instant::now();
    let accept = tokio_rustls::TlsAcceptor::from(acceptor.0.current()).accept(stream);
    let deadline = accepted + shared.bounds.tls_handshake;
    let stream = match wait(accept, shared, accepted, Bound::TlsHandshake, deadline).await? {
        Ok(stream) => stream,
        Err(error) => {
            shared.stats.tls_failed();
            let cause = Report::new(&error).to_string();
            tracing::debug!(peer = ?peer.remote, cause, "TLS handshake failed");
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    peer.tls = true;
    peer.certificates = session
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| Bytes::copy_from_slice(certificate))
        .collect();
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        Some(_) => Some(Protocol::Http1),
        None => None,
    };
    Some((Transport::Tls(Box::new(stream)), peer, protocol))
}
