//! The body of a request, bounded in its pauses.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{connection::Connection, stats::Bound};
use crate::error::{Kind, find, mapping::Classify};

/// The body of a request that came over a connection.
///
/// Reading it fails with [`Stalled`] when the peer sends nothing for `server.bounds.body_idle` while somebody waits:
/// time in which nobody reads doesn't count. The timer is made when the first read has to wait, so that a body that
/// is here already costs none.
///
/// Dropping it before its end makes the server close an HTTP/1 connection after the answer, and reset the rest of an
/// HTTP/2 stream.
pub struct Incoming {
    body: hyper::body::Incoming,
    /// None where there is nothing to wait for.
    connection: Option<Connection>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Something arrived since the timer was set.
    moved: bool,
    ended: bool,
}

/// The body of a request could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The peer stopped sending: HTTP 408.
    #[error("the request body could not be read to its end")]
    Stalled(#[source] Stalled),
    /// What came was not well-formed: HTTP 400.
    #[error("the request body is malformed")]
    Malformed(#[source] hyper::Error),
    /// The peer went away: nobody will see an answer.
    #[error("the request body broke off")]
    Broken(#[source] hyper::Error),
}

impl BodyError {
    fn new(error: hyper::Error) -> Self {
        // hyper reports bad chunks as bad data, and a missing end as such.
        let malformed = find::<io::Error>(&error).is_some_and(|cause| {
            matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        });
        if malformed { Self::Malformed(error) } else { Self::Broken(error) }
    }
}

impl Classify for BodyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Stalled(stalled) => stalled.kind(),
            Self::Malformed(_) => Kind::InvalidArgument,
            Self::Broken(_) => Kind::Cancelled,
        }
    }
}

/// The peer sent nothing of the request body for `server.bounds.body_idle`: HTTP 408.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request body stopped arriving")]
#[non_exhaustive]
pub struct Stalled;

impl Classify for Stalled {
    fn kind(&self) -> Kind {
        Kind::RequestTimeout
    }
}

impl Incoming {
    pub(super) fn new(body: hyper::body::Incoming, connection: &Connection) -> Self {
        let connection = (!body.is_end_stream()).then(|| connection.clone());
        if let Some(connection) = &connection {
            connection.activity().body_begun();
        }
        Self { body, connection, timer: None, moved: false, ended: false }
    }

    /// Nothing more will be read.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true)
            && let Some(connection) = &self.connection
        {
            connection.activity().body_ended();
        }
    }

    #[cold]
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Stalled> {
        let Some(connection) = &self.connection else { return Poll::Pending };
        let bound = connection.shared().bounds.body_idle;
        let timer = self.timer.get_or_insert_with(|| {
            self.moved = false;
            Box::pin(tokio::time::sleep(bound))
        });
        if std::mem::take(&mut self.moved) {
            timer.as_mut().reset(Instant::now() + bound);
        }
        ready!(timer.as_mut().poll(cx));
        connection.activity().unread.set(true);
        connection.shared().stats.timeout(Bound::BodyIdle);
        Poll::Ready(Stalled)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.moved = true;
                // hyper forgets to end a body that is read for longer than it is answered; its length is known.
                if this.body.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.end();
                let error = BodyError::new(error);
                if let (BodyError::Malformed(_), Some(connection)) = (&error, &this.connection) {
                    connection.shared().stats.malformed();
                }
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let stalled = ready!(this.poll_stalled(cx));
                this.end();
                Poll::Ready(Some(Err(BodyError::Stalled(stalled))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection
            && !self.is_end_stream()
        {
            connection.activity().unread.set(true);
        }
        self.end();
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("body", &self.body).finish_non_exhaustive()
    }
}
