//! One request and its answer, on one stream.

use std::{pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use mainstay_core::Body;
use tokio::sync::oneshot;

use super::{
    Slot,
    body::{self, Hold},
    upload::{Broken, Upload},
};
use crate::{
    pool::{Answer, Failed, Incoming, SETTLE, Settings, Step},
    retry::Failure,
};

/// # Cancel safety
/// Dropping it resets the stream (`CANCEL`), so that the peer hears of it.
pub(super) async fn exchange(
    slot: Slot,
    mut requests: SendRequest<Bytes>,
    settings: &Arc<Settings>,
    request: Request<Body>,
) -> Result<Answer, Failed> {
    let (mut head, body) = request.into_parts();
    for_http2(&mut head.headers);
    let is_whole = body.is_end_stream();
    announce_length(&mut head.headers, &head.method, &body);
    let (mut response, stream) = match requests.send_request(Request::from_parts(head, ()), is_whole) {
        Ok(opened) => opened,
        // Nothing was sent.
        Err(error) => return Err(refused(error, body)),
    };
    drop(requests);
    let mut upload = (!is_whole).then(|| Upload::new(body, stream));

    let waited = std::future::poll_fn(|cx| {
        // The answer first: who has given it may want no more of the request.
        if let Poll::Ready(answer) = Pin::new(&mut response).poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        if let Some(under_way) = &mut upload
            && let Poll::Ready(sent) = under_way.poll(cx)
        {
            upload = None;
            if let Err(Broken::Body(cause)) = sent {
                return Poll::Ready(Err(cause));
            }
        }
        Poll::Pending
    });
    let answer = match waited.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(broken(error, &slot)),
        Err(cause) => {
            return Err(Failed { at: Step::Exchange, failure: Failure::Request, cause, body: None });
        }
    };
    let hold = match upload {
        None => Hold::Alone(slot),
        Some(upload) => {
            let (answered, answer) = oneshot::channel();
            let vitals = slot.link.vitals.clone();
            settings.tasks.spawn_detached(finish(upload, slot, answer));
            Hold::Uploading(answered, vitals)
        }
    };
    let (head, stream) = answer.into_parts();
    let body = Incoming::Http2(body::Incoming::new(&head.headers, stream, hold));
    Ok(Answer { response: Response::from_parts(head, body), leaving: false })
}

/// Sends the rest of a request whose answer has begun. It ends with the answer if that is given up, and soon after it
/// if that is complete: who has answered all of a request may still read it, but not take a stream for ever.
async fn finish(mut upload: Upload, slot: Slot, answer: oneshot::Receiver<()>) {
    let mut sent = std::future::poll_fn(|cx| upload.poll(cx));
    let sent = tokio::select! {
        sent = &mut sent => sent,
        is_complete = answer => match is_complete {
            Ok(()) => tokio::time::timeout(SETTLE, sent).await.unwrap_or(Err(Broken::Peer)),
            Err(_) => Err(Broken::Peer),
        },
    };
    if let Err(error) = sent {
        tracing::trace!(?error, "the request was not sent to its end");
    }
    // The stream first: it is over when the slot is given to the next.
    drop(upload);
    drop(slot);
}

/// RFC 9113 section 8.2.2: what belongs to a connection of HTTP/1.1 makes a request malformed.
fn for_http2(headers: &mut HeaderMap) {
    let of_connection = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    for name in of_connection {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|value| value != "trailers") {
        headers.remove(header::TE);
    }
}

/// `Content-Length`, where it is known and says something (RFC 9110 section 8.6).
fn announce_length(headers: &mut HeaderMap, method: &Method, body: &Body) {
    if let Some(length) = body.size_hint().exact()
        && (length > 0 || matches!(*method, Method::POST | Method::PUT | Method::PATCH))
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// The stream was not opened.
fn refused(error: h2::Error, body: Body) -> Failed {
    // Neither the connection's nor the peer's: the request can't be written.
    let is_ours = !error.is_io() && !error.is_go_away() && !error.is_reset();
    let (at, failure) =
        if is_ours { (Step::Exchange, Failure::Request) } else { (Step::GoAway, Failure::Unsent) };
    Failed { at, failure, cause: Box::new(error), body: Some(body) }
}

/// It was, and has no answer.
fn broken(error: h2::Error, slot: &Slot) -> Failed {
    let (at, failure) = if error.is_go_away() && error.is_remote() {
        // h2 gives it to the streams above the last one that the peer will work on (RFC 9113 section 6.8).
        (Step::GoAway, Failure::NotProcessed)
    } else if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
        // RFC 9113 section 8.7.
        (Step::Exchange, Failure::NotProcessed)
    } else {
        (Step::Exchange, Failure::Unknown)
    };
    Failed { at, failure, cause: body::cause(error, &slot.link.vitals), body: None }
}
