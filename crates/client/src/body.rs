//! The body of an answer: holds what the request has taken until it is read.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use mainstay_core::{Body, BoxError, context::Deadline, error::mapping::Elapsed};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::{limit::Slot, pool::Incoming, target::InFlight};

/// The body of an answer from the wire. Dropped before its end it closes the HTTP/1.1 connection, or resets the HTTP/2
/// stream. An explicit deadline bounds it.
pub(crate) fn from_wire(
    incoming: Incoming,
    in_flight: InFlight,
    slot: Option<Slot>,
    deadline: Deadline,
) -> Body {
    if http_body::Body::is_end_stream(&incoming) {
        return Body::empty();
    }
    let hold = Some((in_flight, slot));
    Body::new(Held { inner: Some(incoming), hold, deadline: explicit(deadline), timer: None })
}

/// The body of an answer from this process; an explicit deadline bounds it.
pub(crate) fn from_process(body: Body, deadline: Deadline) -> Body {
    match explicit(deadline) {
        Some(deadline) if !http_body::Body::is_end_stream(&body) => {
            Body::new(Held { inner: Some(body), hold: None, deadline: Some(deadline), timer: None })
        }
        _ => body,
    }
}

fn explicit(deadline: Deadline) -> Option<Deadline> {
    deadline.is_explicit().then_some(deadline)
}

pin_project! {
    struct Held<B> {
        // Until the deadline has passed.
        #[pin]
        inner: Option<B>,
        hold: Option<(InFlight, Option<Slot>)>,
        deadline: Option<Deadline>,
        // Made at the first wait: most bodies are here with the head.
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<B> http_body::Body for Held<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let polled = inner.as_mut().poll_frame(cx);
        if let Some(deadline) = this.deadline {
            let over = match polled {
                // A peer that always has some more is bounded too.
                Poll::Ready(Some(_)) => deadline.has_passed(),
                Poll::Ready(None) => false,
                Poll::Pending => {
                    if this.timer.is_none() {
                        this.timer.set(Some(tokio::time::sleep_until(deadline.at())));
                    }
                    this.timer.as_mut().as_pin_mut().is_some_and(|timer| timer.poll(cx).is_ready())
                }
            };
            if over {
                this.inner.set(None);
                if let Some((mut in_flight, _)) = this.hold.take() {
                    in_flight.expired();
                }
                return Poll::Ready(Some(Err(Box::new(Elapsed::new()))));
            }
        }
        let frame = ready!(polled);
        if let Some((in_flight, _)) = this.hold {
            match &frame {
                Some(Ok(frame)) => frame.trailers_ref().into_iter().for_each(|map| in_flight.trailers(map)),
                Some(Err(_)) => in_flight.failed(),
                None => {}
            }
        }
        if !matches!(frame, Some(Ok(_))) || inner.is_end_stream() {
            *this.hold = None;
            *this.deadline = None;
            this.timer.set(None);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}
