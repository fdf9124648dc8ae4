//! The body of an answer, read in bounded pieces.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;

/// A body; its connection is closed with it.
#[derive(Debug)]
pub(crate) struct Body {
    body: Incoming,
    /// What has arrived of the next line.
    buffered: Vec<u8>,
    /// How many bytes at the front of `buffered` have no line end.
    #[cfg(feature = "kubernetes")]
    searched: usize,
    _connection: AbortOnDropHandle<()>,
}

impl Body {
    pub(super) fn new(body: Incoming, connection: AbortOnDropHandle<()>) -> Self {
        Self {
            body,
            buffered: Vec::new(),
            #[cfg(feature = "kubernetes")]
            searched: 0,
            _connection: connection,
        }
    }

    /// All of it, at most `most` bytes, within `bound`.
    pub(crate) async fn whole(&mut self, most: usize, bound: Duration) -> Result<Vec<u8>, Failure> {
        let until = Instant::now() + bound;
        while self.more(most, until).await? {}
        Ok(std::mem::take(&mut self.buffered))
    }

    /// The next line without its end, at most `most` bytes; `None` at the end of the body. It has to arrive by `until`.
    #[cfg(feature = "kubernetes")]
    pub(crate) async fn line(&mut self, most: usize, until: Instant) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let end = self.buffered.iter().skip(self.searched).position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let rest = self.buffered.split_off(self.searched + end + 1);
                let mut line = std::mem::replace(&mut self.buffered, rest);
                line.truncate(self.searched + end);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffered.len();
            if !self.more(most, until).await? {
                // A line without an end was cut.
                return Ok(None);
            }
        }
    }

    /// Whether there was another piece.
    async fn more(&mut self, most: usize, until: Instant) -> Result<bool, Failure> {
        let frame = match tokio::time::timeout_at(until, self.body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(Failure::of("the answer", &error)),
            Ok(None) => return Ok(false),
            Err(_) => return Err(Failure::new("the answer did not arrive in time")),
        };
        if let Some(data) = frame.data_ref() {
            if self.buffered.len() + data.len() > most {
                return Err(Failure::new(format_args!("the server sends more than {most} bytes at once")));
            }
            self.buffered.extend_from_slice(data);
        }
        Ok(true)
    }
}
