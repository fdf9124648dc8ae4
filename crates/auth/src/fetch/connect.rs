//! Connections, with TLS or without.

use std::path::Path;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Failure, Url};

/// A stream of either kind; there is one for each document.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) async fn connect(url: &Url, ca_file: Option<&Path>) -> Result<Box<dyn Io>, Failure> {
    let stream = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(|error| Failure::of(&format!("{url}: connecting"), &error))?;
    if url.is_tls() { secured(stream, url, ca_file).await } else { Ok(Box::new(stream)) }
}

#[cfg(not(feature = "tls"))]
async fn secured(_: TcpStream, _: &Url, _: Option<&Path>) -> Result<Box<dyn Io>, Failure> {
    // The configuration was refused before; a document may still lead here.
    Err(Failure::new("the program is built without the feature `tls`"))
}

#[cfg(feature = "tls")]
async fn secured(stream: TcpStream, url: &Url, ca_file: Option<&Path>) -> Result<Box<dyn Io>, Failure> {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(&format!("{url}: TLS"), error);
    let ca_file = ca_file.map(Path::to_owned);
    // Read anew each time: they are replaced under a running process.
    let config = tokio::task::spawn_blocking(move || config(ca_file.as_deref())).await;
    let config = config.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| failed(&error))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| failed(&error))?))
}

/// Blocks.
#[cfg(feature = "tls")]
fn config(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, mainstay_core::tls::Unusable> {
    use mainstay_core::tls::{Pem, Unusable, provider};
    use rustls::{ClientConfig, RootCertStore};

    let of_platform =
        |what: String| Unusable::new("ca_file", "not set: the authorities of the platform", what);
    let roots = match ca_file {
        Some(path) => Pem::read("ca_file", path)?.authorities()?,
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
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| of_platform(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
