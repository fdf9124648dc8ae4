use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use crate::middleware::body::Either;

pin_project! {
    /// Body of the answers of [`Problems`](super::Problems).
    #[derive(Debug)]
    pub struct ResponseBody<R: Body> {
        #[pin]
        kind: Kind<R>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProjection]
    enum Kind<R: Body> {
        Plain { #[pin] body: Either<R> },
        // Boxed: it is rare, and large.
        Peeked { peeked: Box<Peeked<R>> },
    }
}

impl<R: Body> ResponseBody<R> {
    pub(super) fn inner(body: R) -> Self {
        Self { kind: Kind::Plain { body: Either::inner(body) } }
    }

    pub(super) fn own(body: Full<Bytes>) -> Self {
        Self { kind: Kind::Plain { body: Either::own(body) } }
    }

    pub(super) fn peeked(peeked: Peeked<R>) -> Self {
        Self { kind: Kind::Peeked { peeked: Box::new(peeked) } }
    }
}

/// Empty.
impl<R: Body> Default for ResponseBody<R> {
    fn default() -> Self {
        Self { kind: Kind::Plain { body: Either::default() } }
    }
}

/// A body whose first frame was looked at. Boxed, since it was polled before it had its place; only short texts are.
pub(super) struct Peeked<R: Body> {
    first: Option<Result<Frame<R::Data>, R::Error>>,
    ended: bool,
    body: Pin<Box<R>>,
}

impl<R: Body<Data = Bytes>> Peeked<R> {
    pub(super) fn peek(body: R, cx: &mut Context<'_>) -> Self {
        let mut body = Box::pin(body);
        match body.as_mut().poll_frame(cx) {
            Poll::Ready(first) => Self { ended: first.is_none(), first, body },
            Poll::Pending => Self { first: None, ended: false, body },
        }
    }

    /// The whole body, where its first frame was all of it.
    pub(super) fn whole(&self, length: u64) -> Option<&Bytes> {
        let data = self.first.as_ref()?.as_ref().ok()?.data_ref()?;
        (u64::try_from(data.len()) == Ok(length)).then_some(data)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None if self.ended => Poll::Ready(None),
            None => self.body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let Some(Ok(first)) = &self.first else { return rest };
        let held = first.data_ref().and_then(|data| u64::try_from(data.len()).ok()).unwrap_or(0);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + held);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}

impl<R: Body> fmt::Debug for Peeked<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peeked").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<R: Body<Data = Bytes>> Body for ResponseBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.project().kind.project() {
            KindProjection::Plain { body } => body.poll_frame(cx),
            KindProjection::Peeked { peeked } => peeked.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Plain { body } => body.is_end_stream(),
            Kind::Peeked { peeked } => peeked.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Plain { body } => body.size_hint(),
            Kind::Peeked { peeked } => peeked.size_hint(),
        }
    }
}
