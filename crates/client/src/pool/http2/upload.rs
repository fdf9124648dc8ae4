//! The body of a request, on its way to the peer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;
use mainstay_core::{Body, BoxError};

/// Sends a body as the peer makes room for it. Dropped before its end it leaves the stream open on this side: who drops
/// the rest of the stream too resets it.
pub(super) struct Upload {
    body: Body,
    stream: SendStream<Bytes>,
    /// What was taken from the body and has no room yet, and whether it is the last.
    held: Option<(Bytes, bool)>,
}

/// Why not all of it was sent.
#[derive(Debug)]
pub(super) enum Broken {
    /// The body broke off; the stream is reset.
    Body(BoxError),
    /// The peer wants no more of it, or the connection has ended: the answer says which.
    Peer,
}

impl Upload {
    pub(super) fn new(body: Body, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, held: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            // Also registers for it: who waits for room, or for more of the body, has to hear of a reset.
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Broken::Peer));
            }
            if self.held.is_some() {
                while self.stream.capacity() == 0 {
                    match ready!(self.stream.poll_capacity(cx)) {
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return Poll::Ready(Err(Broken::Peer)),
                    }
                }
            }
            if let Some((data, is_last)) = self.held.take() {
                // What is more than there is room for waits in h2, which is no more than what is in memory already.
                self.stream.send_data(data, is_last).map_err(|_| Broken::Peer)?;
                if is_last {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            // No room is asked for before there is something to fill it: room that one stream holds is taken from all
            // the others of the connection.
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                None => {
                    return Poll::Ready(self.stream.send_data(Bytes::new(), true).map_err(|_| Broken::Peer));
                }
                Some(Err(error)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(Broken::Body(error.into())));
                }
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() && !self.body.is_end_stream() => {}
                Ok(data) => {
                    let is_last = self.body.is_end_stream();
                    if !data.is_empty() {
                        self.stream.reserve_capacity(1);
                    }
                    if data.is_empty() || self.stream.capacity() > 0 {
                        self.stream.send_data(data, is_last).map_err(|_| Broken::Peer)?;
                        if is_last {
                            return Poll::Ready(Ok(()));
                        }
                    } else {
                        self.held = Some((data, is_last));
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.reserve_capacity(0);
                        let sent = self.stream.send_trailers(trailers);
                        return Poll::Ready(sent.map_err(|_| Broken::Peer));
                    }
                }
            }
        }
    }
}
