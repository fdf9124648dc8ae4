use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::body::Peeked;
use crate::{
    context::RequestContext,
    error::{Error, Kind, Protocol},
    extract::of_axum,
    middleware::FromBody,
};

/// What axum puts on answers made of a text.
const TEXT: &[u8] = b"text/plain; charset=utf-8";
/// Longer texts are not looked at. A rejection repeats what was sent, so it can be long; it is then shown as it is.
const LONGEST_TEXT: u64 = 8 * 1024;

pin_project! {
    /// Future of [`Problems`](super::Problems).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        protocol: Protocol,
        is_head: bool,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, protocol: Protocol, is_head: bool) -> Self {
        Self { inner, protocol, is_head }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: FromBody,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Poll::Ready(Ok(response));
        }
        Poll::Ready(Ok(examine(response, *this.protocol, *this.is_head, cx)))
    }
}

/// An error answer: axum's, or the user's own, which stays as it is.
fn examine<R: FromBody>(
    response: Response<R>,
    protocol: Protocol,
    is_head: bool,
    cx: &mut Context<'_>,
) -> Response<R> {
    let exact = response.body().size_hint().exact();
    match response.headers().get(header::CONTENT_TYPE) {
        None if exact == Some(0) => match of_status(response.status(), protocol) {
            Some(error) => replace(response.into_parts().0, error, protocol, is_head),
            None => response,
        },
        Some(content_type) if content_type.as_bytes() == TEXT && !protocol.is_grpc() => {
            let plain = !response.headers().contains_key(header::CONTENT_ENCODING);
            let Some(length) = exact.filter(|length| plain && (1..=LONGEST_TEXT).contains(length)) else {
                return response;
            };
            let (parts, body) = response.into_parts();
            // A rejection is there whole at the first look. Anything else is handed on with what was looked at.
            let peeked = Peeked::peek(body, cx);
            let text = peeked.whole(length).and_then(|bytes| std::str::from_utf8(bytes).ok());
            match text.and_then(|text| of_axum(parts.status, text)) {
                Some(error) => replace(parts, error, protocol, is_head),
                None => Response::from_parts(parts, R::from_body(peeked)),
            }
        }
        _ => response,
    }
}

/// The error of an answer that is nothing but a status; `None` for one that the framework never answers with.
fn of_status(status: StatusCode, protocol: Protocol) -> Option<Error> {
    let kind = Kind::ALL.iter().copied().find(|kind| kind.status() == status)?;
    // "HTTP to gRPC Status Code Mapping": no route, no method.
    let unrouted = matches!(kind, Kind::NotFound | Kind::MethodNotAllowed);
    Some(Error::new(if protocol.is_grpc() && unrouted { Kind::Unimplemented } else { kind }))
}

/// The problem in place of the answer; its other header fields (`Allow`, `Retry-After`, …) stay.
fn replace<R: FromBody>(
    parts: http::response::Parts,
    error: Error,
    protocol: Protocol,
    is_head: bool,
) -> Response<R> {
    let context = RequestContext::current().unwrap_or_default();
    let (made, body) = error.answer(protocol, &context).into_parts();
    let mut response = Response::from_parts(parts, ());
    *response.status_mut() = made.status;
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    for (name, value) in &made.headers {
        headers.insert(name, HeaderValue::clone(value));
    }
    // RFC 9110 section 9.3.2: no content in the answer to HEAD.
    let body = if is_head { Full::default() } else { body };
    response.map(|()| R::from_body(body))
}
