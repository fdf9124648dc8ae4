//! Between hyper and the service: checks the request, names its connection, counts it, and marks the answer.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    Incoming,
    connection::{Connection, InFlight, Protocol},
    validate,
};
use crate::{BoxError, context::RequestContext, error, lifecycle::Phase};

/// One connection's hold on the service.
pub(super) struct Handler<S> {
    /// hyper calls through `&self`, one call at a time; a clone for each request would copy the whole stack of layers.
    service: RefCell<S>,
    connection: Connection,
}

impl<S> Handler<S> {
    pub(super) fn new(service: S, connection: Connection) -> Self {
        Self { service: RefCell::new(service), connection }
    }
}

impl<S, B> hyper::service::Service<Request<hyper::body::Incoming>> for Handler<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<Answer<B>>;
    type Error = Infallible;
    type Future = Answering<S>;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Answering<S> {
        let in_flight = InFlight::new(&self.connection);
        let (mut head, body) = request.into_parts();
        let connects = head.method == Method::CONNECT;
        let progress = match validate::check(&mut head, &self.connection.shared().bounds) {
            Err(refusal) => {
                self.connection.shared().stats.malformed();
                let protocol = error::Protocol::of(&head.headers);
                Progress::Refused { response: Some(refusal.answer(protocol, &RequestContext::new())) }
            }
            Ok(()) => {
                head.extensions.insert(self.connection.clone());
                let request = Request::from_parts(head, Incoming::new(body, &self.connection));
                let mut service = self.service.borrow_mut();
                match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(())) => Progress::Called { future: service.call(request) },
                    Poll::Ready(Err(never)) => match never {},
                    // The one that is being waited for is the one that will be called.
                    Poll::Pending => {
                        let clone = service.clone();
                        let waiting = mem::replace(&mut *service, clone);
                        Progress::Waiting { service: waiting, request: Some(request) }
                    }
                }
            }
        };
        Answering { progress, in_flight: Some(in_flight), connects }
    }
}

pin_project! {
    /// Future of [`Handler`].
    pub(super) struct Answering<S: Service<Request<Incoming>>> {
        #[pin]
        progress: Progress<S, S::Future>,
        in_flight: Option<InFlight>,
        connects: bool,
    }
}

pin_project! {
    #[project = ProgressProjection]
    enum Progress<S, F> {
        Waiting { service: S, request: Option<Request<Incoming>> },
        Called { #[pin] future: F },
        Refused { response: Option<Response<Full<Bytes>>> },
    }
}

impl<S, B> Future for Answering<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<Answer<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (mut response, refused) = loop {
            let next = match this.progress.as_mut().project() {
                ProgressProjection::Called { future } => {
                    let Ok(response) = ready!(future.poll(cx));
                    break (response.map(|body| Content::Service { body }), false);
                }
                ProgressProjection::Waiting { service, request } => {
                    let Ok(()) = ready!(service.poll_ready(cx));
                    match request.take() {
                        Some(request) => Progress::Called { future: service.call(request) },
                        None => return Poll::Pending,
                    }
                }
                ProgressProjection::Refused { response } => match response.take() {
                    Some(response) => break (response.map(|body| Content::Ours { body }), true),
                    None => return Poll::Pending,
                },
            };
            this.progress.set(next);
        };
        // Polled again after its end, which no caller may do.
        let Some(in_flight) = this.in_flight.take() else { return Poll::Pending };
        if in_flight.connection().protocol() == Protocol::Http1 {
            finish_http1(&mut response, &in_flight, *this.connects, refused);
        } else if *this.connects && response.status().is_success() {
            in_flight.connection().activity().tunnelled.set(true);
        }
        Poll::Ready(Ok(response.map(|content| Answer::new(content, in_flight))))
    }
}

fn finish_http1<B>(response: &mut Response<B>, in_flight: &InFlight, connects: bool, refused: bool) {
    let connection = in_flight.connection();
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS || (connects && status.is_success()) {
        connection.activity().upgraded.set(true);
    } else if refused || connection.shared().signal.phase() >= Phase::Announced {
        // Contract LIFE 3. After a request that was not understood, the next one may be a smuggled part of it.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

pin_project! {
    /// The body of an answer; knows when it was taken to its end.
    pub(super) struct Answer<B> {
        #[pin]
        content: Content<B>,
        in_flight: InFlight,
    }
}

pin_project! {
    #[project = ContentProjection]
    enum Content<B> {
        Service { #[pin] body: B },
        Ours { #[pin] body: Full<Bytes> },
    }
}

impl<B: Body<Data = Bytes>> Answer<B> {
    fn new(content: Content<B>, mut in_flight: InFlight) -> Self {
        if content.is_end_stream() {
            in_flight.finish();
        } else {
            in_flight.hand_over();
        }
        Self { content, in_flight }
    }
}

impl<B> Content<B>
where
    B: Body<Data = Bytes>,
{
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Service { body } => body.is_end_stream(),
            Self::Ours { body } => body.is_end_stream(),
        }
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        this.in_flight.asked();
        let frame = ready!(match this.content.as_mut().project() {
            ContentProjection::Service { body } => body.poll_frame(cx).map_err(Into::into),
            ContentProjection::Ours { body } => body.poll_frame(cx).map_err(|never| match never {}),
        });
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref(),
            _ => None,
        };
        this.in_flight.hand(data.map_or(0, Bytes::len));
        if data.is_some() && !this.content.is_end_stream() {
            this.in_flight.hand_over()
        } else {
            this.in_flight.finish()
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Service { body } => body.size_hint(),
            Content::Ours { body } => body.size_hint(),
        }
    }
}
