//! The body of what a layer answers: the inner service's, or its own.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

pin_project! {
    /// The inner service's body, or a short one that the layer made itself. Keeps the error type.
    #[derive(Debug)]
    #[project = EitherProjection]
    pub(super) enum Either<R> {
        Inner { #[pin] body: R },
        // Boxed: it is rare, and would make every answer larger at each layer that it passes.
        Own { body: Box<Full<Bytes>> },
    }
}

impl<R> Either<R> {
    /// The inner service's.
    pub(super) fn inner(body: R) -> Self {
        Self::Inner { body }
    }

    /// The layer's own.
    pub(super) fn own(body: Full<Bytes>) -> Self {
        Self::Own { body: Box::new(body) }
    }
}

/// Empty: what layers that answer by themselves (CORS preflights) need.
impl<R> Default for Either<R> {
    fn default() -> Self {
        Self::own(Full::default())
    }
}

impl<R: Body<Data = Bytes>> Body for Either<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.project() {
            EitherProjection::Inner { body } => body.poll_frame(cx),
            EitherProjection::Own { body } => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Inner { body } => body.is_end_stream(),
            Self::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Inner { body } => body.size_hint(),
            Self::Own { body } => body.size_hint(),
        }
    }
}
