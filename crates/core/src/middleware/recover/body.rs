use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{Panicked, Panics};
use crate::{
    BoxError,
    context::RequestContext,
    middleware::{FromBody, body::Either},
    panics,
};

pin_project! {
    /// Body of the answers of [`Recover`](super::Recover): a panic ends it with [`Panicked`], so that only this
    /// stream suffers and its reader sees that it is not whole.
    #[derive(Debug)]
    pub struct ResponseBody<R> {
        #[pin]
        inner: Option<Either<R>>,
        panics: Option<Panics>,
    }
}

impl<R> ResponseBody<R> {
    pub(super) fn new(inner: Either<R>, panics: Option<Panics>) -> Self {
        Self { inner: Some(inner), panics }
    }
}

impl<R: FromBody> FromBody for ResponseBody<R> {
    fn from_body<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self::new(Either::from_body(body), None)
    }
}

/// Empty.
impl<R> Default for ResponseBody<R> {
    fn default() -> Self {
        Self::new(Either::default(), None)
    }
}

impl<R> Body for ResponseBody<R>
where
    R: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        match panics::guard(|| inner.poll_frame(cx)) {
            Ok(polled) => polled.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Err(caught) => {
                let context = RequestContext::current().unwrap_or_default();
                let again = panics::guard(|| this.inner.set(None)).err();
                if let Some(panics) = this.panics {
                    panics.record(&caught, &context);
                    again.iter().for_each(|again| panics.record(again, &context));
                }
                Poll::Ready(Some(Err(Panicked.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
