//! The body of an answer.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use mainstay_core::BoxError;
use tokio::sync::oneshot;

use super::{Slot, link::Vitals};

/// Frames as they come; what is read is announced to the peer as room for more. Dropped before its end it resets the
/// stream.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: RecvStream,
    /// What is left of the announced length.
    length: Option<u64>,
    at: At,
    hold: Option<Hold>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Data,
    Trailers,
    End,
}

/// What the stream takes as long as it lasts.
#[derive(Debug)]
pub(super) enum Hold {
    Alone(Slot),
    /// The request is still being sent, by a task that has the slot and hears of the end of the answer.
    Uploading(oneshot::Sender<()>, Arc<Vitals>),
}

/// Why a stream broke: what is known of its connection, or what h2 says.
pub(super) fn cause(error: h2::Error, vitals: &Vitals) -> BoxError {
    match vitals.lost() {
        Some(lost) => Box::new(lost),
        None => Box::new(error),
    }
}

impl Incoming {
    pub(super) fn new(head: &HeaderMap, stream: RecvStream, hold: Hold) -> Self {
        // h2 has checked it.
        let length = head.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut incoming = Self { stream, length, at: At::Data, hold: Some(hold) };
        incoming.end_if_over();
        incoming
    }

    /// Whatever the reason of a reset: without END_STREAM the answer is not complete (RFC 9113 section 8.1).
    fn break_off(&mut self, error: h2::Error) -> BoxError {
        self.at = At::End;
        match self.hold.take() {
            Some(Hold::Alone(slot)) => cause(error, &slot.link.vitals),
            Some(Hold::Uploading(_, vitals)) => cause(error, &vitals),
            None => error.into(),
        }
    }

    fn end_if_over(&mut self) {
        if self.stream.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        self.at = At::End;
        if let Some(Hold::Uploading(task, _)) = self.hold.take() {
            // It may have ended itself.
            let _ = task.send(());
        }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.at == At::Data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails only for more than was received.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.length = self.length.map(|length| length.saturating_sub(data.len() as u64));
                    self.end_if_over();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(self.break_off(error)))),
                None => self.at = At::Trailers,
            }
        }
        if self.at == At::Trailers {
            return Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
                Ok(trailers) => {
                    self.end();
                    trailers.map(|trailers| Ok(Frame::trailers(trailers)))
                }
                Err(error) => Some(Err(self.break_off(error))),
            });
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.at == At::End
    }

    fn size_hint(&self) -> SizeHint {
        match (self.at, self.length) {
            (At::End, _) => SizeHint::with_exact(0),
            (_, Some(length)) => SizeHint::with_exact(length),
            (_, None) => SizeHint::default(),
        }
    }
}
