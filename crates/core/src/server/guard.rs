//! The byte stream as HTTP sees it: counts what passes, and says what hyper says without words.
//!
//! hyper answers what it can't parse with a bare `400`, `414` or `431`. Such an answer is the only thing it writes while
//! no answer of the service is owed, so it is recognised here, and sent as the problem document that it is
//! (contract ERR 1).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};
use tokio_util::{sync::WaitForCancellationFutureOwned, task::task_tracker::TaskTrackerToken};

use super::{
    connection::{Connection, Protocol},
    refuse,
    stats::Bound,
    transport::Transport,
    worker::Shared,
};
use crate::{error::Kind, lifecycle::Phase};

/// Lives as long as the connection is open, wherever it is handed to.
pub(super) struct Ticket {
    shared: std::sync::Arc<Shared>,
    _open: TaskTrackerToken,
}

impl Ticket {
    pub(super) fn new(shared: &std::sync::Arc<Shared>) -> Self {
        Self { shared: shared.clone(), _open: shared.connections.token() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.stats.closed();
    }
}

pub(super) struct Guard {
    transport: Transport,
    connection: Connection,
    /// Bytes that were read to tell the protocol.
    ahead: Bytes,
    /// An answer of ours that stands in for one of hyper's.
    ours: Bytes,
    handed_over: Option<Box<HandedOver>>,
    /// Something waits to be read: until then nobody sees whether the peer hangs up.
    has_more: bool,
    frames: Frames,
    _ticket: Ticket,
}

/// Bounds of an upgraded connection: nobody else watches it.
struct HandedOver {
    read_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    write_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    stall: Pin<Box<Sleep>>,
    is_cut: bool,
}

impl Guard {
    pub(super) fn new(transport: Transport, ahead: Bytes, connection: Connection, ticket: Ticket) -> Self {
        Self {
            transport,
            connection,
            ahead,
            ours: Bytes::new(),
            handed_over: None,
            has_more: false,
            frames: Frames::default(),
            _ticket: ticket,
        }
    }

    /// The stream itself, for the last words.
    pub(super) fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    /// Takes what hyper writes where it is one of its bare answers; says whether it was.
    fn replace(&mut self, answer: &[u8]) -> bool {
        let activity = self.connection.activity();
        if activity.owed.get() || self.connection.protocol() != Protocol::Http1 {
            return false;
        }
        let Some(kind) = bare_answer(answer) else { return false };
        activity.unread.set(true);
        let shared = self.connection.shared();
        shared.stats.malformed();
        tracing::debug!(peer = ?self.connection.remote(), kind = kind.slug(), "malformed request");
        self.ours = refuse::answer(kind, detail(kind));
        true
    }

    fn poll_ours(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ours.is_empty() {
            let written = Pin::new(&mut self.transport).poll_write(cx, &self.ours);
            let written = ready!(self.note_written(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.ours.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn note_written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let activity = self.connection.activity();
        match written {
            Poll::Ready(Ok(bytes)) => activity.note_written(bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let since_now = !activity.blocked.get();
                activity.blocked.set(true);
                if activity.upgraded.get() {
                    ready!(self.poll_stalled(cx, since_now))?;
                }
            }
        }
        written
    }

    /// Counts the payload of the DATA frames that were written.
    #[inline]
    fn note_frames<'a>(&mut self, written: &Poll<io::Result<usize>>, bufs: impl Iterator<Item = &'a [u8]>) {
        if self.connection.protocol() != Protocol::Http2 {
            return;
        }
        let Poll::Ready(Ok(mut left)) = *written else { return };
        let mut data = 0;
        for buf in bufs {
            let part = buf.get(..left).unwrap_or(buf);
            data += self.frames.walk(part);
            left -= part.len();
        }
        self.connection.activity().note_sent(data);
    }

    /// Looks out for a peer that hangs up while its HTTP/1 request is answered: its handler is to be dropped, as over
    /// HTTP/2. hyper would do so by reading, for which it takes a new buffer of 8 KiB for each request; so it is told
    /// not to (`http1_builder`).
    #[inline]
    fn note_hang_up(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let activity = self.connection.activity();
        let reads = activity.reads_body() || activity.upgraded.get();
        if self.has_more || reads || self.connection.protocol() != Protocol::Http1 {
            return Ok(());
        }
        match self.transport.poll_hung_up(cx) {
            Poll::Ready(Ok(true)) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Ready(Ok(false)) => {
                self.has_more = true;
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(()),
        }
    }

    fn handed_over(&mut self) -> &mut HandedOver {
        let shared = self.connection.shared();
        self.handed_over.get_or_insert_with(|| {
            Box::new(HandedOver {
                read_cut: Box::pin(shared.signal.reached(Phase::Cut)),
                write_cut: Box::pin(shared.signal.reached(Phase::Cut)),
                stall: Box::pin(tokio::time::sleep(shared.bounds.write_idle)),
                is_cut: false,
            })
        })
    }

    /// The end of the drain, for a connection that was given away.
    fn cut(&mut self) -> io::Error {
        let handed_over = self.handed_over();
        if !std::mem::replace(&mut handed_over.is_cut, true) {
            self.connection.shared().stats.cut();
        }
        io::ErrorKind::ConnectionAborted.into()
    }

    #[cold]
    fn poll_stalled(&mut self, cx: &mut Context<'_>, since_now: bool) -> Poll<io::Result<usize>> {
        let bound = self.connection.shared().bounds.write_idle;
        let handed_over = self.handed_over();
        if since_now {
            handed_over.stall.as_mut().reset(Instant::now() + bound);
        }
        if handed_over.write_cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(self.cut()));
        }
        ready!(handed_over.stall.as_mut().poll(cx));
        self.connection.shared().stats.timeout(Bound::WriteIdle);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Finds the frames in what HTTP/2 writes (RFC 9113 section 4.1).
#[derive(Default)]
struct Frames {
    head: [u8; 9],
    /// How much of the head is there.
    have: usize,
    /// How much of the payload is still to come.
    left: usize,
}

impl Frames {
    /// Takes the next bytes; returns how many of them are payload of DATA frames.
    fn walk(&mut self, mut bytes: &[u8]) -> u64 {
        let mut data = 0;
        while !bytes.is_empty() {
            if self.left == 0 {
                let Some(missing) = self.head.get_mut(self.have..) else { return data };
                let (taken, rest) = bytes.split_at(missing.len().min(bytes.len()));
                missing.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
                self.have += taken.len();
                bytes = rest;
                if self.have < self.head.len() {
                    return data;
                }
                self.have = 0;
                let [high, middle, low, ..] = self.head;
                self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
            } else {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= payload.len();
                bytes = rest;
                // Type 0 is DATA; the server pads none.
                if self.head[3] == 0 {
                    data += payload.len() as u64;
                }
            }
        }
        data
    }
}

/// Which of hyper's answers this is the head of.
fn bare_answer(head: &[u8]) -> Option<Kind> {
    let code = head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let status = StatusCode::from_bytes(code).ok().filter(StatusCode::is_client_error)?;
    Some(Kind::from_status(status))
}

fn detail(kind: Kind) -> &'static str {
    match kind {
        Kind::HeaderFieldsTooLarge => "the header section has too many fields or is too large",
        Kind::UriTooLong => "the request target is too long",
        _ => "what arrived is no well-formed HTTP/1.1 request",
    }
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let bytes = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(bytes));
            this.connection.activity().note_read(bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.transport).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let bytes = buf.filled().len() - before;
                this.has_more = false;
                if bytes > 0 {
                    this.connection.activity().note_read(bytes);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if this.connection.activity().upgraded.get() => {
                ready!(this.handed_over().read_cut.as_mut().poll(cx));
                Poll::Ready(Err(this.cut()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replace(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.transport).poll_write(cx, buf);
        this.note_frames(&written, std::iter::once(buf));
        this.note_written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replace(bufs.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = Pin::new(&mut this.transport).poll_write_vectored(cx, bufs);
        this.note_frames(&written, bufs.iter().map(|buf| &**buf));
        this.note_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ours.is_empty() {
            ready!(this.poll_ours(cx))?;
        }
        ready!(Pin::new(&mut this.transport).poll_flush(cx))?;
        let activity = this.connection.activity();
        if activity.in_flight() == 0 {
            activity.owed.set(false);
        } else {
            this.note_hang_up(cx)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ours.is_empty() {
            ready!(this.poll_ours(cx))?;
        }
        Pin::new(&mut this.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn data_is_counted_however_the_bytes_are_cut(
            frames in proptest::collection::vec((0u8..10, 0usize..300), 0..20),
            cut in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            let mut expected = 0;
            for (kind, length) in frames {
                bytes.extend(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
                bytes.extend([kind, 0, 0, 0, 0, 1]);
                bytes.extend(std::iter::repeat_n(0, length));
                expected += if kind == 0 { length as u64 } else { 0 };
            }
            let mut walk = Frames::default();
            let counted: u64 = bytes.chunks(cut).map(|chunk| walk.walk(chunk)).sum();
            prop_assert_eq!(counted, expected);
        }
    }

    #[test]
    fn only_client_errors_are_taken_for_answers_of_hyper() {
        assert_eq!(bare_answer(b"HTTP/1.1 431 Request Header"), Some(Kind::HeaderFieldsTooLarge));
        assert_eq!(bare_answer(b"HTTP/1.0 400 Bad Request"), Some(Kind::InvalidArgument));
        for other in [
            &b"HTTP/1.1 100 Continue"[..],
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 4",
            b"",
            b"400",
            b"HTTP/1.1 4\xffx",
        ] {
            assert_eq!(bare_answer(other), None);
        }
    }
}
