//! TLS by rustls: ALPN, certificates that are taken up when their files change, client certificates.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
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
use crate::{error::Report, task::Tasks};

/// What ends handshakes. Clones share the certificates.
#[derive(Clone)]
pub(super) struct Acceptor(Arc<Inner>);

struct Inner {
    settings: Tls,
    /// What `current` was made of at the start.
    first: Files,
    current: ArcSwap<ServerConfig>,
}

/// The files, as they were read.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    certificates: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

/// What is wrong with one of the files.
#[derive(Debug, thiserror::Error)]
#[error("{key} ({}): {what}", .path.display())]
struct Unusable {
    key: &'static str,
    path: PathBuf,
    what: String,
}

impl Acceptor {
    /// Reads the files.
    pub(super) fn new(settings: &Tls) -> Result<Self, String> {
        let files = Files::read(settings).map_err(|error| error.to_string())?;
        let config = files.build(settings).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Inner {
            settings: settings.clone(),
            first: files,
            current: ArcSwap::from_pointee(config),
        })))
    }

    /// Looks at the files now and then, as long as the handle lives.
    pub(super) fn reload_on_change(&self) -> Option<AbortOnDropHandle<()>> {
        let interval = self.0.settings.reload_interval.0.get();
        if interval.is_zero() {
            return None;
        }
        let work = self.clone().reload(interval);
        Some(AbortOnDropHandle::new(Tasks::new().spawn_detached(work)))
    }

    async fn reload(self, interval: Duration) {
        // A bad file is told once, and again when it is bad in another way.
        let mut seen = Ok(self.0.first.clone());
        loop {
            tokio::time::sleep(interval).await;
            let settings = self.0.settings.clone();
            let read = tokio::task::spawn_blocking(move || Files::read(&settings)).await;
            let Ok(read) = read else { continue };
            let read = read.map_err(|error| error.to_string());
            if seen == read {
                continue;
            }
            let built = match &read {
                Ok(files) => files.build(&self.0.settings).map_err(|error| error.to_string()),
                Err(error) => Err(error.clone()),
            };
            match built {
                Ok(config) => {
                    self.0.current.store(Arc::new(config));
                    tracing::info!("certificates reloaded");
                }
                Err(error) => tracing::error!(error, "certificates not reloaded; the old ones stay in use"),
            }
            seen = read;
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Files {
    fn read(settings: &Tls) -> Result<Self, Unusable> {
        let read = |key, path: &Path| {
            std::fs::read(path).map_err(|error| Unusable { key, path: path.into(), what: error.to_string() })
        };
        let authorities = match &settings.client_ca_file {
            Some(path) => read("server.tls.client_ca_file", path)?,
            None => Vec::new(),
        };
        Ok(Self {
            certificates: read("server.tls.certificate_file", &settings.certificate_file)?,
            key: read("server.tls.key_file", &settings.key_file)?,
            authorities,
        })
    }

    fn build(&self, settings: &Tls) -> Result<ServerConfig, Unusable> {
        let certificate_error = |what: String| Unusable {
            key: "server.tls.certificate_file",
            path: settings.certificate_file.clone(),
            what,
        };
        let chain = certificates(&self.certificates).map_err(certificate_error)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| Unusable {
            key: "server.tls.key_file",
            path: settings.key_file.clone(),
            what: format!("no private key in PEM form: {error}"),
        })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate_error(error.to_string()))?;
        let builder = match (settings.client_certificates, &settings.client_ca_file) {
            (ClientCertificates::None, _) | (_, None) => builder.with_no_client_auth(),
            (wanted, Some(path)) => {
                let unusable = |what| Unusable { key: "server.tls.client_ca_file", path: path.clone(), what };
                let mut roots = RootCertStore::empty();
                for authority in certificates(&self.authorities).map_err(unusable)? {
                    roots.add(authority).map_err(|error| unusable(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match wanted {
                    ClientCertificates::Required => verifier,
                    _ => verifier.allow_unauthenticated(),
                };
                builder
                    .with_client_cert_verifier(verifier.build().map_err(|error| unusable(error.to_string()))?)
            }
        };
        // Checks that the key belongs to the certificate.
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| certificate_error(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("no certificate in PEM form".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("not PEM: {error}")),
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
    let accept = tokio_rustls::TlsAcceptor::from(acceptor.0.current.load_full()).accept(stream);
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
