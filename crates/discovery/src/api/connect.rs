//! Connections, with TLS or without.

use std::{
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Failure;
use crate::{origin::Origin, registry::Tls};

/// A peer that is gone without a word is found within 15 s + 3 × 5 s of silence.
const SILENCE: Duration = Duration::from_secs(15);
const PROBE: Duration = Duration::from_secs(5);

/// A connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(super) async fn connect(origin: &Origin, tls: &Tls) -> Result<TokioIo<Stream>, Failure> {
    let stream = TcpStream::connect((origin.host(), origin.port()))
        .await
        .map_err(|error| Failure::of(&format!("connecting to {origin}"), &error))?;
    let keep_alive = socket2::TcpKeepalive::new().with_time(SILENCE).with_interval(PROBE).with_retries(3);
    // Without it a dead peer is found later, by the bound of the request.
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
    let _ = stream.set_nodelay(true);
    if !origin.is_tls() {
        return Ok(TokioIo::new(Stream::Plain(stream)));
    }
    let config = config(tls).await?;
    let name = ServerName::try_from(origin.host().to_owned())
        .map_err(|error| Failure::of("the host of the server", &error))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| Failure::of(&format!("TLS with {origin}"), &error))?;
    Ok(TokioIo::new(Stream::Tls(Box::new(stream))))
}

/// Read anew for each connection.
async fn config(tls: &Tls) -> Result<ClientConfig, Failure> {
    let tls = tls.clone();
    let read = tokio::task::spawn_blocking(move || read(&tls)).await;
    read.map_err(|error| Failure::of("TLS", &error))?
}

fn read(tls: &Tls) -> Result<ClientConfig, Failure> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::of("TLS", &error))?
        .with_root_certificates(roots(tls)?);
    let (Some(certificate_file), Some(key_file)) = (&tls.certificate_file, &tls.key_file) else {
        return Ok(config.with_no_client_auth());
    };
    let chain = certificates("the certificate", certificate_file)?;
    let what = format!("the key ({})", key_file.display());
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| Failure::of(&what, &error))?;
    config
        .with_client_auth_cert(chain, key)
        .map_err(|error| Failure::of("the certificate and its key", &error))
}

fn roots(tls: &Tls) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(ca_file) = &tls.ca_file else {
        // Some that can't be read don't spoil the others.
        let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in certificates("the certificates of authorities", ca_file)? {
        let what = format!("the certificates of authorities ({})", ca_file.display());
        roots.add(certificate).map_err(|error| Failure::of(&what, &error))?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(what: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let what = format!("{what} ({})", file.display());
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| Failure::of(&what, &error))?;
    if certificates.is_empty() {
        return Err(Failure::new(format_args!("no certificate in {}", file.display())));
    }
    Ok(certificates)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
