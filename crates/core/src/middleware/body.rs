//! The bodies of answers: the inner service's, and those that a layer makes itself.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use pin_project_lite::pin_project;

use crate::BoxError;

/// A body that others can be turned into: axum's, tonic's, http-body-util's boxed ones.
///
/// Layers that answer by themselves now and then, or watch over a body now and then, give all other answers on as they
/// are: their type is the inner service's, and nothing is moved or wrapped on the usual way.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't hold what a layer answers by itself",
    label = "an answer with this body",
    note = "make it axum's: `service.map_response(|response| response.map(axum::body::Body::new))`"
)]
pub trait FromBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {
    /// `body`, boxed where it is another type.
    fn from_body<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

impl FromBody for axum::body::Body {
    fn from_body<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self::new(body)
    }
}

#[cfg(feature = "grpc")]
impl FromBody for tonic::body::Body {
    fn from_body<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self::new(body)
    }
}

impl FromBody for UnsyncBoxBody<Bytes, BoxError> {
    fn from_body<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        body.map_err(Into::into).boxed_unsync()
    }
}

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

impl<R: FromBody> FromBody for Either<R> {
    fn from_body<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self::inner(R::from_body(body))
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
