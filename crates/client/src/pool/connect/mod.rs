//! Opening a connection.

mod race;

use std::{io, time::Duration};

use mainstay_core::BoxError;
use mainstay_discovery::{Address, Place};
use socket2::{SockRef, TcpKeepalive};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpStream, lookup_host};

use super::{Settings, Version, transport::Transport};

/// After so long without a sign of life from the machine of the peer a connection ends (RFC 1122 section 4.2.3.6, RFC
/// 5482). One that is lost without a word would else stay until the kernel gives up, which is a quarter of an hour.
const SILENCE: Duration = Duration::from_secs(30);

/// A stream on which this version can be spoken, with TLS where that is spoken there.
pub(super) async fn connect(
    place: &Place,
    version: Version,
    settings: &Settings,
) -> Result<Transport, BoxError> {
    let plain = plain(place).await?;
    if !place.tls {
        return Ok(plain);
    }
    #[cfg(feature = "tls")]
    {
        let encrypted = settings.tls.handshake(plain, place, version, &settings.tasks).await?;
        Ok(Transport::Tls(Box::new(encrypted)))
    }
    #[cfg(not(feature = "tls"))]
    {
        let _ = (version, settings);
        Err("TLS is spoken there, and this program was built without the feature `tls`".into())
    }
}

/// A host name is resolved by the operating system, each time anew; its addresses race.
async fn plain(place: &Place) -> io::Result<Transport> {
    match &place.address {
        Address::Tcp(host, port) => {
            let addresses = lookup_host((&**host, *port)).await?;
            let stream = race::race(addresses, TcpStream::connect).await?;
            tune(&stream)?;
            Ok(Transport::Tcp(stream))
        }
        #[cfg(unix)]
        Address::Unix(path) => Ok(Transport::Unix(UnixStream::connect(path.as_path()).await?)),
        other => {
            let reason = format!("{other} can't be connected to");
            Err(io::Error::new(io::ErrorKind::Unsupported, reason))
        }
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    // Requests are written whole: waiting to fill a segment only delays them.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 6).with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(())
}

/// Bounds the opening of a connection: names, addresses and handshakes together.
pub(crate) async fn within<T, E: Into<BoxError>>(
    bound: Duration,
    open: impl Future<Output = Result<T, E>>,
) -> Result<T, BoxError> {
    match tokio::time::timeout(bound, open).await {
        Ok(opened) => opened.map_err(Into::into),
        Err(_) => Err(format!("not connected after {bound:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_lost_without_a_word_ends() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = mainstay_discovery::Endpoint::tcp("127.0.0.1", port);
        let Ok(Transport::Tcp(stream)) = plain(endpoint.place()).await else {
            panic!("it connects");
        };
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(SILENCE));
    }
}
