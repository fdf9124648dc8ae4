use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::BoxError;

/// A body whose first frame was looked at. Boxed, since it was polled before it had its place; only short texts are.
pub(super) struct Peeked<R> {
    first: Option<Result<Frame<Bytes>, BoxError>>,
    ended: bool,
    body: Pin<Box<R>>,
}

impl<R: Body<Data = Bytes, Error: Into<BoxError>>> Peeked<R> {
    pub(super) fn peek(body: R, cx: &mut Context<'_>) -> Self {
        let mut body = Box::pin(body);
        match body.as_mut().poll_frame(cx) {
            Poll::Ready(first) => {
                Self { ended: first.is_none(), first: first.map(|first| first.map_err(Into::into)), body }
            }
            Poll::Pending => Self { first: None, ended: false, body },
        }
    }

    /// The whole body, where its first frame was all of it.
    pub(super) fn whole(&self, length: u64) -> Option<&Bytes> {
        let data = self.first.as_ref()?.as_ref().ok()?.data_ref()?;
        (u64::try_from(data.len()) == Ok(length)).then_some(data)
    }
}

impl<R: Body<Data = Bytes, Error: Into<BoxError>>> Body for Peeked<R> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None if self.ended => Poll::Ready(None),
            None => {
                self.body.as_mut().poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
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
