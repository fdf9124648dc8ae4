//! The body of a request over several attempts.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use mainstay_core::{Body, BoxError};

/// In this many frames at most: who sends empty ones for ever must not hold up the thread.
const FRAMES: usize = 64;

/// What is left to send.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// All of it is here, and is sent with each attempt.
    Whole(Bytes),
    /// A stream, for one attempt.
    Stream(Body),
    /// It was a stream, and is gone.
    Spent,
}

impl Payload {
    /// Keeps the body if all of it is here already and it has at most `kept` bytes. Never waits: what is not here
    /// streams.
    pub(crate) fn new(mut body: Body, kept: usize) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        if body.size_hint().lower() > kept as u64 {
            return Self::Stream(body);
        }
        let mut cx = Context::from_waker(Waker::noop());
        let mut first: Option<Bytes> = None;
        let mut more = BytesMut::new();
        for frame in 1.. {
            let last_look = frame == FRAMES;
            let frame = match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(None) => break,
                // The sender registers the waker anew when it polls on.
                Poll::Pending => return Self::stream(first, more, None, body),
                Poll::Ready(Some(frame)) => frame,
            };
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => match &first {
                    None => first = Some(data),
                    Some(_) => more.extend_from_slice(&data),
                },
                Ok(Err(trailers)) => return Self::stream(first, more, Some(Ok(trailers)), body),
                Err(error) => return Self::stream(first, more, Some(Err(error.into())), body),
            }
            if body.is_end_stream() {
                break;
            }
            if last_look || first.as_ref().map_or(0, Bytes::len) + more.len() > kept {
                return Self::stream(first, more, None, body);
            }
        }
        Self::Whole(join(first, more))
    }

    fn stream(
        first: Option<Bytes>,
        more: BytesMut,
        next: Option<Result<Frame<Bytes>, BoxError>>,
        rest: Body,
    ) -> Self {
        let ahead = join(first, more);
        if ahead.is_empty() && next.is_none() {
            return Self::Stream(rest);
        }
        let ahead = (!ahead.is_empty()).then(|| Ok(Frame::data(ahead)));
        Self::Stream(Body::new(Resumed { ahead, next, rest }))
    }

    /// The body for one attempt; `None` if it is gone.
    pub(crate) fn take(&mut self) -> Option<Body> {
        match self {
            Self::Empty => Some(Body::empty()),
            Self::Whole(bytes) => Some(Body::from(bytes.clone())),
            Self::Stream(_) => match std::mem::replace(self, Self::Spent) {
                Self::Stream(body) => Some(body),
                _ => None,
            },
            Self::Spent => None,
        }
    }

    /// Takes a body back that was not touched.
    pub(crate) fn put_back(&mut self, body: Body) {
        if let Self::Spent = self {
            *self = Self::Stream(body);
        }
    }

    /// Whether there is something to send.
    pub(crate) fn is_left(&self) -> bool {
        !matches!(self, Self::Spent)
    }
}

fn join(first: Option<Bytes>, more: BytesMut) -> Bytes {
    match first {
        Some(first) if more.is_empty() => first,
        Some(first) => [first, more.freeze()].concat().into(),
        None => Bytes::new(),
    }
}

/// A body with a frame of it that was read ahead put back.
pub(crate) fn resumed(ahead: Result<Frame<Bytes>, BoxError>, rest: Body) -> Body {
    Body::new(Resumed { ahead: None, next: Some(ahead), rest })
}

/// What was read ahead, then the rest of the stream.
struct Resumed {
    ahead: Option<Result<Frame<Bytes>, BoxError>>,
    next: Option<Result<Frame<Bytes>, BoxError>>,
    rest: Body,
}

impl http_body::Body for Resumed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.ahead.take() {
            return Poll::Ready(Some(frame));
        }
        if let Some(frame) = self.next.take() {
            return Poll::Ready(Some(frame));
        }
        Pin::new(&mut self.rest).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && self.next.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let data = |frame: &Option<Result<Frame<Bytes>, BoxError>>| match frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            _ => 0,
        };
        let ahead = data(&self.ahead) + data(&self.next);
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ahead));
        // An exact length ends the request where it is reached: trailers and errors that wait would never be seen.
        let data_only = self.next.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_data));
        if data_only && let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ahead)) {
            hint.set_upper(upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt as _;

    use super::*;

    const KEPT: usize = 64 * 1024;

    /// `None` is a moment in which nothing is there.
    struct Script(VecDeque<Option<Result<Frame<Bytes>, BoxError>>>);

    impl http_body::Body for Script {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            match self.0.pop_front() {
                Some(None) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Some(frame) => Poll::Ready(frame),
                None => Poll::Ready(None),
            }
        }
    }

    fn data(text: &'static str) -> Option<Result<Frame<Bytes>, BoxError>> {
        Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
    }

    async fn read(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_small_body_that_is_here_is_sent_again() {
        let mut payload = Payload::new(Body::new(Script([data("ab"), data("cd")].into())), KEPT);
        for _ in 0..3 {
            assert_eq!(read(payload.take().unwrap()).await, "abcd");
        }
        assert!(matches!(Payload::new(Body::empty(), KEPT), Payload::Empty));
    }

    #[test]
    fn what_waits_behind_the_data_keeps_the_length_open() {
        let broken = http_body_util::Limited::new(Body::from("too much"), 2);
        let body = Payload::new(Body::new(broken), KEPT).take().unwrap();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
    }

    #[tokio::test]
    async fn a_stream_is_sent_once_and_whole() {
        let mut payload =
            Payload::new(Body::new(Script([data("ab"), data("cd"), None, data("ef")].into())), KEPT);
        let body = payload.take().unwrap();
        assert!(!payload.is_left());
        assert_eq!(read(body).await, "abcdef");

        let mut payload = Payload::new(Body::new(Script([None, data("ef")].into())), KEPT);
        let untouched = payload.take().unwrap();
        payload.put_back(untouched);
        assert_eq!(read(payload.take().unwrap()).await, "ef");
    }

    #[tokio::test]
    async fn a_body_that_always_has_nothing_more_is_not_read_for_ever() {
        let mut script: VecDeque<_> = std::iter::repeat_with(|| data("")).take(10_000).collect();
        script.push_back(data("ab"));
        let mut payload = Payload::new(Body::new(Script(script)), KEPT);
        let body = payload.take().unwrap();
        assert!(!payload.is_left(), "it was left to be streamed");
        assert_eq!(read(body).await, "ab");
    }

    #[tokio::test]
    async fn large_bodies_trailers_and_errors_stay_streams() {
        let large = vec![b'x'; KEPT + 1];
        let mut payload =
            Payload::new(Body::new(Script([Some(Ok(Frame::data(large.clone().into())))].into())), KEPT);
        assert_eq!(read(payload.take().unwrap()).await, large);
        assert!(!payload.is_left());

        let mut trailers = http::HeaderMap::new();
        trailers.insert("x", http::HeaderValue::from_static("y"));
        let script = [data("ab"), Some(Ok(Frame::trailers(trailers.clone())))];
        let mut payload = Payload::new(Body::new(Script(script.into())), KEPT);
        let collected = payload.take().unwrap().collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "ab");

        let script = [data("ab"), Some(Err("broken".into()))];
        let mut payload = Payload::new(Body::new(Script(script.into())), KEPT);
        assert!(payload.take().unwrap().collect().await.is_err());
        assert!(!payload.is_left());
    }
}
