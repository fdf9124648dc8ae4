//! Connections, with TLS or without.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Failure;
use crate::origin::Origin;

/// A peer that is gone without a word is found within 15 s + 3 × 5 s of silence.
const SILENCE: Duration = Duration::from_secs(15);
const PROBE: Duration = Duration::from_secs(5);

/// Who may sign the server's certificate.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    /// The certificates of the authorities, as a PEM file.
    pub(crate) ca_file: PathBuf,
}

/// A connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(super) async fn connect(origin: &Origin, trust: &Trust) -> Result<TokioIo<Stream>, Failure> {
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
    let config = trust.config().await?;
    let name = ServerName::try_from(origin.host().to_owned())
        .map_err(|error| Failure::of("the host of the server", &error))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| Failure::of(&format!("TLS with {origin}"), &error))?;
    Ok(TokioIo::new(Stream::Tls(Box::new(stream))))
}

impl Trust {
    async fn config(&self) -> Result<ClientConfig, Failure> {
        let path = self.ca_file.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let unreadable = |error: &(dyn std::error::Error + 'static)| {
            Failure::of(&format!("the certificates of authorities ({})", self.ca_file.display()), error)
        };
        let pem = read.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unreadable(&error))?;
            roots.add(certificate).map_err(|error| unreadable(&error))?;
        }
        if roots.is_empty() {
            return Err(Failure::new(format_args!("no certificate in {}", self.ca_file.display())));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::of("TLS", &error))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
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
