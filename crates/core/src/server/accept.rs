//! Taking connections from a listening socket.

use std::{io, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::Instant,
};

use super::{
    bind::{Socketed, Unlink},
    connection::Peer,
};

pub(super) enum Listener {
    Tcp(TcpListener),
    // In this order: the file is removed while somebody still listens, so that nobody takes it for a stale one, puts
    // another in its place, and loses that one.
    Unix { _unlink: Option<Unlink>, listener: UnixListener },
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Hands the socket to the current runtime.
    pub(super) fn new(socket: Socketed) -> io::Result<Self> {
        Ok(match socket {
            Socketed::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Socketed::Unix(listener, unlink) => {
                Self::Unix { _unlink: unlink, listener: UnixListener::from_std(listener)? }
            }
        })
    }

    /// The next connection. Can be dropped without losing one.
    pub(super) async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                let peer = Peer { remote: Some(remote), local: stream.local_addr().ok(), ..Peer::default() };
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer::default()))
            }
        }
    }

    /// Closes the socket, and hands over the connections that the kernel holds for it: closing alone resets them. Asks
    /// the kernel itself: the runtime may not know yet that they are there, and stops a task that takes many in a row.
    pub(super) fn close(self, most: u64, mut each: impl FnMut(Stream, Peer)) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => {
                let listener = listener.into_std()?;
                for _ in 0..most {
                    let (stream, remote) = match listener.accept() {
                        Ok(accepted) => accepted,
                        Err(error) if is_of_one_connection(&error) => continue,
                        // None is left, or none can be taken.
                        Err(_) => break,
                    };
                    stream.set_nonblocking(true)?;
                    let peer =
                        Peer { remote: Some(remote), local: stream.local_addr().ok(), ..Peer::default() };
                    each(Stream::Tcp(TcpStream::from_std(stream)?), peer);
                }
            }
            Self::Unix { _unlink, listener } => {
                let listener = listener.into_std()?;
                for _ in 0..most {
                    let stream = match listener.accept() {
                        Ok((stream, _)) => stream,
                        Err(error) if is_of_one_connection(&error) => continue,
                        Err(_) => break,
                    };
                    stream.set_nonblocking(true)?;
                    each(Stream::Unix(UnixStream::from_std(stream)?), Peer::default());
                }
                drop(_unlink);
            }
        }
        Ok(())
    }
}

/// Whether `accept` failed for the one connection, and the next may be well.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// How to go on after `accept` failed.
#[derive(Default)]
pub(super) struct Failures {
    pause: Duration,
    logged: Option<Instant>,
}

impl Failures {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_secs(1);
    const BETWEEN_LOGS: Duration = Duration::from_secs(10);

    pub(super) fn reset(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// How long to wait: not at all after an error of that one connection; longer and longer when there are no file
    /// descriptors or no memory, because the same connection would fail again at once.
    pub(super) fn pause(&mut self, error: &io::Error) -> Option<Duration> {
        if is_of_one_connection(error) || error.kind() == io::ErrorKind::WouldBlock {
            return None;
        }
        let now = Instant::now();
        if self.logged.is_none_or(|logged| now.duration_since(logged) >= Self::BETWEEN_LOGS) {
            self.logged = Some(now);
            tracing::error!(%error, "can't accept connections");
        }
        self.pause = (self.pause * 2).clamp(Self::FIRST, Self::LONGEST);
        Some(self.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_file_descriptors_the_pauses_grow_up_to_a_second() {
        let mut failures = Failures::default();
        let no_descriptors = io::Error::from_raw_os_error(24);
        let pauses: Vec<_> = (0..10).filter_map(|_| failures.pause(&no_descriptors)).collect();
        assert_eq!(pauses[0], Failures::FIRST);
        assert_eq!(pauses[9], Failures::LONGEST);
        failures.reset();
        assert_eq!(failures.pause(&no_descriptors), Some(Failures::FIRST));
    }

    #[tokio::test]
    async fn a_connection_that_was_aborted_does_not_delay_the_next() {
        assert_eq!(Failures::default().pause(&io::ErrorKind::ConnectionAborted.into()), None);
    }
}
