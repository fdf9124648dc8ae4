//! Connections, with TLS or without.

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Failure, Protocol, Target, Tls};

/// A stream of either kind; there is one for each connection, and there are few of those.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) type Stream = TokioIo<Box<dyn Io>>;

pub(super) async fn connect(target: &Target, tls: &Tls, protocol: Protocol) -> Result<Stream, Failure> {
    let stream = TcpStream::connect((target.host(), target.port()))
        .await
        .map_err(|error| Failure::of("can't connect", &error))?;
    let _ = stream.set_nodelay(true);
    let stream: Box<dyn Io> =
        if target.is_tls() { secured(stream, target, tls, protocol).await? } else { Box::new(stream) };
    Ok(TokioIo::new(stream))
}

#[cfg(not(feature = "tls"))]
async fn secured(_: TcpStream, _: &Target, _: &Tls, _: Protocol) -> Result<Box<dyn Io>, Failure> {
    // The configuration was refused before.
    Err(Failure::lasting("the program is built without the feature `tls`"))
}

#[cfg(feature = "tls")]
async fn secured(
    stream: TcpStream,
    target: &Target,
    tls: &Tls,
    protocol: Protocol,
) -> Result<Box<dyn Io>, Failure> {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    let tls = tls.clone();
    let config = tokio::task::spawn_blocking(move || secrets::config(&tls, protocol)).await;
    let config =
        config.map_err(|error| Failure::of("TLS", &error))?.map_err(|error| Failure::of("TLS", &error))?;
    let name = ServerName::try_from(target.host().to_owned())
        .map_err(|error| Failure::of("the host of the receiver", &error))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Box::new(connected.map_err(|error| Failure::of("TLS", &error))?))
}

#[cfg(feature = "tls")]
mod secrets {
    use mainstay_core::tls::{Pem, Unusable, provider};
    use rustls::{ClientConfig, RootCertStore};

    use super::{Protocol, Tls};

    const CA_FILE: &str = "otlp.tls.ca_file";

    /// Reads the files. Blocks.
    pub(super) fn config(tls: &Tls, protocol: Protocol) -> Result<ClientConfig, Unusable> {
        let of_platform =
            |what: String| Unusable::new(CA_FILE, "not set: the authorities of the platform", what);
        let roots = match &tls.ca_file {
            Some(path) => Pem::read(CA_FILE, path)?.authorities()?,
            None => {
                let found = rustls_native_certs::load_native_certs();
                let mut roots = RootCertStore::empty();
                // Stores hold some that are too old to be read, and none of them is missed.
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let first = found.errors.first().map_or("there are none".to_owned(), ToString::to_string);
                    return Err(of_platform(first));
                }
                roots
            }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| of_platform(error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match (&tls.certificate_file, &tls.key_file) {
            (Some(certificate), Some(key)) => {
                let certificate = Pem::read("otlp.tls.certificate_file", certificate)?;
                let key = Pem::read("otlp.tls.key_file", key)?.key()?;
                builder
                    .with_client_auth_cert(certificate.certificates()?, key)
                    .map_err(|error| certificate.unusable(error))?
            }
            _ => builder.with_no_client_auth(),
        };
        let alpn: &[u8] = if protocol == Protocol::Grpc { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }
}
