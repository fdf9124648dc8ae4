//! The body of an answer, of either version.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mainstay_core::BoxError;

use super::{http1::Lease, http2};

/// At its end the connection takes the next request. Dropped earlier, an HTTP/1.1 connection is closed and an HTTP/2
/// stream is reset.
#[derive(Debug)]
pub(crate) enum Incoming {
    Http1(hyper::body::Incoming, Option<Lease>),
    Http2(http2::Incoming),
}

impl Incoming {
    pub(super) fn http1(body: hyper::body::Incoming, lease: Lease) -> Self {
        let mut incoming = Self::Http1(body, Some(lease));
        incoming.release_at_end();
        incoming
    }

    fn release_at_end(&mut self) {
        if let Self::Http1(body, lease) = self
            && body.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.release();
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (body, lease) = match &mut *self {
            Self::Http1(body, lease) => (body, lease),
            Self::Http2(body) => return Pin::new(body).poll_frame(cx),
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) => self.release_at_end(),
            Some(Err(_)) => *lease = None,
            None => {
                if let Some(lease) = lease.take() {
                    lease.release();
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body, _) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body, _) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
