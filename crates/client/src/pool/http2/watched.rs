//! The byte stream as h2 sees it: counts what comes, and lets the peer have the last word.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Vitals;

/// A peer that closes has often said GOAWAY before, which tells the requests that it did not work on. A request that is
/// written just then makes the kernel of the peer answer with a reset, and the write after it fails, here, while the
/// GOAWAY still waits to be read. h2 would end with the write. So writes that fail are taken for good, and their error
/// is told when all that came has been read.
pub(super) struct Watched<T> {
    inner: T,
    vitals: Arc<Vitals>,
    unwritten: Option<io::Error>,
    /// Whether a write has failed.
    is_mute: bool,
}

impl<T> Watched<T> {
    pub(super) fn new(inner: T, vitals: Arc<Vitals>) -> Self {
        Self { inner, vitals, unwritten: None, is_mute: false }
    }

    /// What is told of a write of `length` bytes.
    fn written(
        &mut self,
        cx: &Context<'_>,
        polled: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(error)) => {
                self.is_mute = true;
                self.unwritten = Some(error);
                // To be read to the end.
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            // One task reads: no other write can come between.
            let reads = self.vitals.reads.load(Ordering::Relaxed);
            self.vitals.reads.store(reads.wrapping_add(1), Ordering::Relaxed);
            return polled;
        }
        #[cfg(feature = "tls")]
        if let Poll::Ready(Err(error)) = &polled
            && let Some(reason) = crate::tls::refused(error)
        {
            // h2 keeps no more of an error than its kind and its text.
            self.vitals.lose(super::link::Lost::Refused(reason));
        }
        match polled {
            // Not the end yet: tokio says so too of what it has not looked at since the kernel was told. A stream that
            // can't be written to is readable to its end.
            Poll::Pending => Poll::Pending,
            ended => self.unwritten.take().map_or(ended, |error| Poll::Ready(Err(error))),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_mute {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.written(cx, polled, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.is_mute {
            return Poll::Ready(Ok(length));
        }
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.written(cx, polled, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_mute {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.inner).poll_flush(cx).map_ok(|()| 0);
        self.written(cx, flushed, 0).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_mute {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that was reset while a GOAWAY was on its way: nothing is here at the first look, then it is, and
    /// nothing can be written any more.
    #[derive(Default)]
    struct Reset {
        looks: u32,
        after: Vec<u8>,
    }

    impl AsyncRead for Reset {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.looks += 1;
            match self.looks {
                // SETTINGS, which allow a request; then nothing, and nothing after the write has failed.
                1 => buf.put_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]),
                2 | 3 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                _ => {
                    let after = std::mem::take(&mut self.after);
                    buf.put_slice(&after);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Reset {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            if self.looks < 2 { Poll::Ready(Ok(buf.len())) } else { Poll::Ready(Err(reset())) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn reset() -> io::Error {
        io::ErrorKind::ConnectionReset.into()
    }

    #[tokio::test]
    async fn a_goaway_that_came_before_a_write_failed_is_read() {
        // GOAWAY: none of the streams was worked on.
        let goaway = vec![0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (after, is_told) in [(goaway, true), (Vec::new(), false)] {
            let stream = Watched::new(Reset { looks: 0, after }, Arc::new(Vitals::new()));
            let (mut requests, connection) =
                h2::client::Builder::new().handshake::<_, bytes::Bytes>(stream).await.unwrap();
            let request = http::Request::get("http://stock/").body(()).unwrap();
            let (answer, _) = requests.send_request(request, true).unwrap();
            let (answer, _) = tokio::join!(answer, connection);
            let error = answer.unwrap_err();
            assert_eq!(error.is_go_away() && error.is_remote(), is_told, "{error}");
        }
    }
}
