//! Opening a connection.

use std::{io, time::Duration};

use mainstay_core::BoxError;
use mainstay_discovery::Address;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A host name is resolved by the operating system, its addresses are tried one after the other.
pub(crate) async fn connect(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((&**host, *port)).await?;
            // Requests are written whole: waiting to fill a segment only delays them.
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
        #[cfg(unix)]
        Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path.as_path()).await?)),
        other => {
            let reason = format!("{other} can't be connected to");
            Err(io::Error::new(io::ErrorKind::Unsupported, reason))
        }
    }
}

/// Bounds the opening of a connection, handshake included.
pub(crate) async fn within<T, E: Into<BoxError>>(
    bound: Duration,
    open: impl Future<Output = Result<T, E>>,
) -> Result<T, BoxError> {
    match tokio::time::timeout(bound, open).await {
        Ok(opened) => opened.map_err(Into::into),
        Err(_) => Err(format!("not connected after {bound:?}").into()),
    }
}
