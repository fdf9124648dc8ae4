//! An answer after which the request may be sent again, and what becomes of it.

use std::{future::poll_fn, pin::Pin, task::Poll};

use http::{Response, StatusCode};
use http_body::Body as _;
use mainstay_core::Body;

use super::{
    Config,
    answer::{self, Pushback},
    payload,
};

/// Whether a request that got this answer may be sent again, and when. gRPC says how it went in the head, or in trailers;
/// these are looked at if they are here together with the head. Nothing waits for them: the head of a stream is handed on
/// before there is a message.
pub(crate) async fn refusal(retry: &Config, response: &mut Response<Body>) -> Option<Pushback> {
    let headers = response.headers();
    if answer::is_listed(retry, response.status(), headers) {
        return Some(answer::pushback(headers));
    }
    if retry.codes.is_empty() || !answer::says_later(response.status(), headers) {
        return None;
    }
    let mut body = std::mem::take(response.body_mut());
    let here = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(frame),
        Poll::Pending => Poll::Ready(None),
    })
    .await;
    let mut pushback = None;
    *response.body_mut() = match here {
        None => body,
        Some(frame) => {
            if let Some(trailers) = frame.as_ref().ok().and_then(|frame| frame.trailers_ref())
                && answer::is_listed(retry, StatusCode::OK, trailers)
            {
                pushback = Some(answer::pushback(trailers));
            }
            payload::resumed(frame.map_err(Into::into), body)
        }
    };
    pushback
}

/// Reads what is here of an answer that nobody wants, so that its connection can be used again.
pub(crate) async fn discard(response: Response<Body>) {
    const FRAMES: usize = 8;
    let mut body = response.into_body();
    for _ in 0..FRAMES {
        let more = poll_fn(|cx| {
            let polled = Pin::new(&mut body).poll_frame(cx);
            Poll::Ready(matches!(polled, Poll::Ready(Some(Ok(_)))))
        });
        if !more.await {
            return;
        }
    }
}
