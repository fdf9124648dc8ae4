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

use crate::{balance::ewma::InFlight, pool::http1::Lease};

/// The body of an answer from the wire. At its end the connection goes back to the pool; dropped earlier, an HTTP/1.1
/// connection is closed and an HTTP/2 stream is reset. An explicit deadline bounds it.
pub(crate) fn from_wire(
    incoming: hyper::body::Incoming,
    lease: Option<Lease>,
    in_flight: InFlight,
    deadline: Deadline,
) -> Body {
    if http_body::Body::is_end_stream(&incoming) {
        if let Some(lease) = lease {
            lease.release();
        }
        return Body::empty();
    }
    let hold = Some((lease, in_flight));
    Body::new(Held { inner: incoming, hold, deadline: explicit(deadline), timer: None })
}

/// The body of an answer from this process; an explicit deadline bounds it.
pub(crate) fn from_process(body: Body, deadline: Deadline) -> Body {
    match explicit(deadline) {
        Some(deadline) if !http_body::Body::is_end_stream(&body) => {
            Body::new(Held { inner: body, hold: None, deadline: Some(deadline), timer: None })
        }
        _ => body,
    }
}

fn explicit(deadline: Deadline) -> Option<Deadline> {
    deadline.is_explicit().then_some(deadline)
}

pin_project! {
    struct Held<B> {
        #[pin]
        inner: B,
        hold: Option<(Option<Lease>, InFlight)>,
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
        let polled = this.inner.as_mut().poll_frame(cx);
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
                *this.hold = None;
                return Poll::Ready(Some(Err(Box::new(Elapsed::new()))));
            }
        }
        let frame = ready!(polled);
        let failed = matches!(frame, Some(Err(_)));
        if failed {
            *this.hold = None;
        } else if frame.is_none() || this.inner.is_end_stream() {
            *this.deadline = None;
            this.timer.set(None);
            if let Some((Some(lease), _)) = this.hold.take() {
                lease.release();
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
