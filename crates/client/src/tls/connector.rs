//! The handshake, with authorities and certificate as new as their files.

use std::{path::PathBuf, sync::Arc};

use mainstay_core::{
    BoxError,
    task::Tasks,
    tls::{Pem, Recipe, Reloaded, Unusable, provider},
};
use mainstay_discovery::{Address, Place};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::sync::OnceCell;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Config, error::NoTls};
use crate::pool::{Transport, Version};

const CA_FILE: &str = "client.tls.ca_file";
const CERTIFICATE_FILE: &str = "client.tls.certificate_file";
const KEY_FILE: &str = "client.tls.key_file";

/// Does handshakes as one [`Config`] says. The files are read when the first is wanted.
#[derive(Debug)]
pub(crate) struct Connector {
    config: Config,
    reloaded: OnceCell<Arc<Reloaded<Configured>>>,
}

#[derive(Debug)]
struct Configured(Config);

#[derive(PartialEq, Eq)]
struct Files {
    roots: Roots,
    own: Option<(Pem, Pem)>,
}

#[derive(PartialEq, Eq)]
enum Roots {
    File(Pem),
    Platform(Vec<CertificateDer<'static>>),
}

/// For each version of HTTP, since each is asked for by its own name (RFC 7301). They share their sessions.
struct Made {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Connector {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, reloaded: OnceCell::new() }
    }

    /// # Cancel safety
    /// Dropping it closes the stream.
    pub(crate) async fn handshake(
        &self,
        stream: Transport,
        place: &Place,
        version: Version,
        tasks: &Tasks,
    ) -> Result<TlsStream<Transport>, BoxError> {
        let name = self.name(place)?;
        let server = ServerName::try_from(name.to_owned())
            .map_err(|error| NoTls::new(name, format!("this can't be the name of a server: {error}")))?;
        let made = self.reloaded(tasks).await?.current();
        let (config, protocol) = match version {
            Version::Http1 => (&made.http1, &b"http/1.1"[..]),
            Version::Http2 => (&made.http2, &b"h2"[..]),
        };
        let connector = TlsConnector::from(config.clone());
        let connected = connector.connect(server, stream).await;
        let stream = connected.map_err(|error| NoTls::from_handshake(name, &error))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(chosen) if chosen == protocol => Ok(stream),
            // HTTP/1.1 is what is spoken where nothing was said; HTTP/2 must be agreed on (RFC 9113 section 3.2).
            None if version == Version::Http1 => Ok(stream),
            _ => Err(NoTls::new(name, "it doesn't speak this version of HTTP").into()),
        }
    }

    fn name<'a>(&'a self, place: &'a Place) -> Result<&'a str, NoTls> {
        match (&self.config.server_name, &place.address) {
            (Some(name), _) => Ok(name),
            (None, Address::Tcp(host, _)) => Ok(host),
            (None, other) => {
                let reason = "its address has no host: `client.tls.server_name` must say the name";
                Err(NoTls::new(&other.to_string(), reason))
            }
        }
    }

    async fn reloaded(&self, tasks: &Tasks) -> Result<&Arc<Reloaded<Configured>>, BoxError> {
        let load = async {
            let configured = Configured(self.config.clone());
            let read = tokio::task::spawn_blocking(move || Reloaded::new(configured)).await;
            let reloaded = Arc::new(read??);
            let interval = self.config.reload_interval.get();
            if !interval.is_zero() {
                let (watch, stopping) =
                    (Reloaded::watch(Arc::downgrade(&reloaded), interval), tasks.stopping());
                tasks.spawn_detached(async move {
                    tokio::select! {
                        () = watch => {}
                        () = stopping.cancelled() => {}
                    }
                });
            }
            Ok::<_, BoxError>(reloaded)
        };
        self.reloaded.get_or_try_init(|| load).await
    }
}

impl Recipe for Configured {
    type Files = Files;
    type Made = Made;

    fn read(&self) -> Result<Files, Unusable> {
        let roots = match &self.0.ca_file {
            Some(path) => Roots::File(Pem::read(CA_FILE, path)?),
            None => Roots::Platform(platform()?),
        };
        let own = match (&self.0.certificate_file, &self.0.key_file) {
            (Some(certificate), Some(key)) => {
                Some((Pem::read(CERTIFICATE_FILE, certificate)?, Pem::read(KEY_FILE, key)?))
            }
            _ => None,
        };
        Ok(Files { roots, own })
    }

    fn make(&self, files: &Files) -> Result<Made, Unusable> {
        let roots = match &files.roots {
            Roots::File(file) => file.authorities()?,
            Roots::Platform(certificates) => {
                let mut roots = RootCertStore::empty();
                // Stores hold some that are too old to be read, and none of them is missed.
                roots.add_parsable_certificates(certificates.iter().cloned());
                roots
            }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| of_platform(error.to_string()))?
            .with_root_certificates(roots);
        let mut http1 = match &files.own {
            None => builder.with_no_client_auth(),
            // Checks that the key belongs to the certificate.
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificate.certificates()?, key.key()?)
                .map_err(|error| certificate.unusable(error))?,
        };
        let mut http2 = http1.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        http2.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Made { http1: Arc::new(http1), http2: Arc::new(http2) })
    }
}

/// The authorities that the platform trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as everywhere.
fn platform() -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let first = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(of_platform(first));
    }
    Ok(found.certs)
}

fn of_platform(what: String) -> Unusable {
    Unusable::new(CA_FILE, PathBuf::from("not set: the authorities of the platform"), what)
}
