//! The byte stream under a connection. An enum, so that HTTP is compiled once and not once for each kind.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// Does the same with whatever stream it is.
macro_rules! each {
    ($transport:expr, $stream:ident => $work:expr) => {
        match $transport {
            Transport::Tcp($stream) => $work,
            Transport::Unix($stream) => $work,
            #[cfg(feature = "tls")]
            Transport::Tls($stream) => $work,
        }
    };
}

impl Transport {
    /// Whether the peer has hung up, found out without reading anything; `false` when there is something to read first.
    /// Never known of an encrypted stream, whose records must be read.
    pub(super) fn poll_hung_up(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        macro_rules! peek {
            ($stream:expr) => {
                loop {
                    ready!($stream.poll_read_ready(cx))?;
                    let peek = || SockRef::from($stream).peek(&mut [MaybeUninit::uninit()]);
                    match $stream.try_io(Interest::READABLE, peek) {
                        // It was not ready any more, and tokio knows now.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        peeked => return Poll::Ready(peeked.map(|bytes| bytes == 0)),
                    }
                }
            };
        }
        match self {
            Self::Tcp(stream) => peek!(stream),
            Self::Unix(stream) => peek!(stream),
            #[cfg(feature = "tls")]
            Self::Tls(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for Transport {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
