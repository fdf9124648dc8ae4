use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Response, StatusCode, header};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{body::Held, limiter::Permit};
use crate::{
    context::RequestContext,
    error::{Error, Protocol, mapping::Overloaded},
    middleware::FromBody,
};

pin_project! {
    /// Future of [`Shed`](super::Shed).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        protocol: Protocol,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Admitted { #[pin] inner: F, permit: Option<Permit> },
        Refused { overloaded: Overloaded },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn admitted(inner: F, permit: Permit, protocol: Protocol) -> Self {
        Self { state: State::Admitted { inner, permit: Some(permit) }, protocol }
    }

    pub(super) fn refused(overloaded: Overloaded, protocol: Protocol) -> Self {
        Self { state: State::Refused { overloaded }, protocol }
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
        let protocol = *this.protocol;
        match this.state.project() {
            StateProjection::Admitted { inner, permit } => {
                let outcome = ready!(inner.poll(cx));
                let permit = permit.take();
                let response = outcome?;
                let permit = permit
                    .and_then(|permit| permit.head(failed(&response, protocol), body_is_work(&response)));
                let Some(permit) = permit else { return Poll::Ready(Ok(response)) };
                Poll::Ready(Ok(response.map(|body| R::from_body(Held::new(body, permit)))))
            }
            StateProjection::Refused { overloaded } => {
                let context = RequestContext::current().unwrap_or_default();
                let answer = Error::from(*overloaded)
                    .with_detail("the service is overloaded")
                    .answer(protocol, &context);
                Poll::Ready(Ok(answer.map(R::from_body)))
            }
        }
    }
}

fn failed<R>(response: &Response<R>, protocol: Protocol) -> bool {
    response.status().is_server_error()
        || (protocol.is_grpc() && response.headers().get("grpc-status").is_some_and(|status| status != "0"))
}

/// Whether the body is made while it is sent. One of known length is there already; events and upgraded connections
/// mostly wait.
fn body_is_work<R: Body>(response: &Response<R>) -> bool {
    let is_event_stream = || {
        let content_type = response.headers().get(header::CONTENT_TYPE);
        content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
    };
    response.status() != StatusCode::SWITCHING_PROTOCOLS
        && response.body().size_hint().exact().is_none()
        && !response.body().is_end_stream()
        && !is_event_stream()
}
