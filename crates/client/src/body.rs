//! The body of an answer: holds what the request has taken until it is read.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use mainstay_core::{Body, BoxError, context::Deadline, error::mapping::Elapsed, observe};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::{
    breaker::Permit,
    limit::Slot,
    pool::Incoming,
    retry::answer::{self, Outcome, Pushback},
    target::InFlight,
};

/// What is left of an answer, in bytes, is not cut off where it is that little and there already: who gives up at the
/// deadline says so after it.
const SMALL: u64 = 64 * 1024;

/// The body of an answer from the wire. Dropped before its end it closes the HTTP/1.1 connection, or resets the HTTP/2
/// stream. An explicit deadline bounds it. What its trailers say counts for the endpoint.
pub(crate) fn from_wire(
    incoming: Incoming,
    mut hold: Hold,
    seen: Option<observe::Attempt>,
    deadline: Deadline,
) -> Body {
    if http_body::Body::is_end_stream(&incoming) {
        hold.ended_by(&HeaderMap::new());
        return Body::empty();
    }
    let (hold, deadline) = (Some(hold), explicit(deadline));
    Body::new(Held { inner: Some(incoming), hold, seen, deadline, timer: None })
}

/// What a request has taken, until its answer is read.
pub(crate) struct Hold {
    pub(crate) in_flight: InFlight,
    pub(crate) _slot: Option<Slot>,
    /// What it pays into the budget if its trailers say that it succeeded.
    pub(crate) pays: Option<f64>,
}

impl Hold {
    /// What the trailers say counts; none are without a status.
    fn ended_by(&mut self, trailers: &HeaderMap) {
        self.in_flight.trailers(trailers);
        let place = self.in_flight.place();
        match answer::outcome(StatusCode::OK, trailers) {
            Outcome::Success => {
                if let (Some(share), Some(budget), Some(_)) =
                    (self.pays.take(), place.budget.get(), answer::grpc_code(trailers))
                {
                    budget.deposit(share);
                }
            }
            Outcome::Refused | Outcome::Failure => {
                if let Pushback::After(delay) = answer::pushback(trailers) {
                    place.push_back(delay);
                }
            }
        }
    }
}

/// The body of an answer from this process; an explicit deadline bounds it.
pub(crate) fn from_process(body: Body, seen: Option<observe::Attempt>, deadline: Deadline) -> Body {
    let deadline = explicit(deadline);
    if (deadline.is_none() && seen.is_none()) || http_body::Body::is_end_stream(&body) {
        return body;
    }
    Body::new(Held { inner: Some(body), hold: None, seen, deadline, timer: None })
}

/// The body of an answer whose trailers say how the call went; tells the breaker. Given up before its end it says nothing,
/// unless it was let through to find out, and messages came.
pub(crate) fn judged(body: Body, mut permit: Permit) -> Body {
    if http_body::Body::is_end_stream(&body) {
        permit.ended(true);
        return body;
    }
    permit.answered();
    Body::new(Judged { inner: body, permit: Some(permit) })
}

pin_project! {
    struct Judged {
        #[pin]
        inner: Body,
        permit: Option<Permit>,
    }
}

impl http_body::Body for Judged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let failed = match &frame {
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => Some(answer::ends_badly(trailers)),
                None if this.inner.is_end_stream() => Some(true),
                // Streams can stay open for days, and a probe is waited for.
                None => this.permit.as_ref().is_some_and(Permit::is_probe).then_some(false),
            },
            // Broken, or without a status, which is UNKNOWN.
            Some(Err(_)) | None => Some(true),
        };
        if let Some(failed) = failed
            && let Some(permit) = this.permit.take()
        {
            permit.ended(failed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
        hold: Option<Hold>,
        // What observes the attempt: it ends with the body.
        seen: Option<observe::Attempt>,
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
        let is_small = http_body::Body::size_hint(&*inner).exact().is_some_and(|left| left <= SMALL);
        let polled = inner.as_mut().poll_frame(cx);
        if let Some(deadline) = this.deadline {
            let over = match polled {
                // A peer that always has some more is bounded too.
                Poll::Ready(Some(_)) => !is_small && deadline.has_passed(),
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
                if let Some(mut hold) = this.hold.take() {
                    hold.in_flight.expired();
                }
                if let Some(mut seen) = this.seen.take() {
                    seen.failed(observe::Failure::Timeout);
                }
                return Poll::Ready(Some(Err(Box::new(Elapsed::new()))));
            }
        }
        let frame = ready!(polled);
        if let Some(seen) = this.seen {
            match &frame {
                Some(Ok(frame)) => frame.trailers_ref().into_iter().for_each(|map| seen.trailers(map)),
                Some(Err(_)) => seen.failed(observe::Failure::Reset),
                None => {}
            }
        }
        if let Some(hold) = this.hold {
            match &frame {
                Some(Ok(frame)) => frame.trailers_ref().into_iter().for_each(|map| hold.ended_by(map)),
                Some(Err(_)) => hold.in_flight.failed(),
                None => hold.ended_by(&HeaderMap::new()),
            }
        }
        if !matches!(frame, Some(Ok(_))) || inner.is_end_stream() {
            if let (Some(mut hold), Some(Ok(_))) = (this.hold.take(), &frame) {
                hold.ended_by(&HeaderMap::new());
            }
            *this.deadline = None;
            *this.seen = None;
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
