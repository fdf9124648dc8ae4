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
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, header};
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
    seen_host: RefCell<validate::SeenHost>,
    connection: Connection,
    /// What requests are given; cloned.
    extensions: Extensions,
}

impl<S> Handler<S> {
    pub(super) fn new(service: S, connection: Connection) -> Self {
        let extensions = roomy(connection.clone());
        Self { service: RefCell::new(service), seen_host: RefCell::default(), connection, extensions }
    }
}

/// Extensions with the connection and with room: the smallest table takes three, of which a router needs all, and to move
/// into a larger one costs a request more than to copy that. A clone has the room of its original.
fn roomy(connection: Connection) -> Extensions {
    #[derive(Clone)]
    struct Room<const N: u8>;

    let mut extensions = Extensions::new();
    extensions.insert(connection);
    extensions.insert(Room::<0>);
    extensions.insert(Room::<1>);
    extensions.insert(Room::<2>);
    extensions.remove::<Room<0>>();
    extensions.remove::<Room<1>>();
    extensions.remove::<Room<2>>();
    extensions
}

impl<S, B> hyper::service::Service<Request<hyper::body::Incoming>> for Handler<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<Answer<B>>;
    type Error = Infallible;
    type Future = Answering<S>;

    fn call(&self, mut request: Request<hyper::body::Incoming>) -> Answering<S> {
        let in_flight = InFlight::new(&self.connection);
        let connects = *request.method() == Method::CONNECT;
        let limits = &self.connection.shared().bounds;
        let checked = validate::check(&mut request, limits, &mut self.seen_host.borrow_mut());
        let progress = match checked {
            Err(refusal) => {
                self.connection.shared().stats.malformed();
                let protocol = error::Protocol::of(request.headers());
                Progress::Refused { response: Some(refusal.answer(protocol, &RequestContext::new())) }
            }
            Ok(()) => {
                request.extensions_mut().extend(self.extensions.clone());
                let request = request.map(|body| Incoming::new(body, &self.connection));
                let mut service = self.service.borrow_mut();
                match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(())) => Progress::Called { future: service.call(request) },
                    Poll::Ready(Err(never)) => match never {},
                    // The one that is being waited for is the one that will be called.
                    Poll::Pending => {
                        let clone = service.clone();
                        let waiting = mem::replace(&mut *service, clone);
                        Progress::Waiting { waiting: Some(Box::new((waiting, request))) }
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
        // Boxed: it is rare, and would make every future as large as a request.
        Waiting { waiting: Option<Box<(S, Request<Incoming>)>> },
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
        loop {
            let next = match this.progress.as_mut().project() {
                ProgressProjection::Called { future } => {
                    let Ok(response) = ready!(future.poll(cx));
                    return finish(response, this.in_flight, *this.connects);
                }
                ProgressProjection::Waiting { waiting } => {
                    if let Some(waiting) = waiting {
                        let Ok(()) = ready!(waiting.0.poll_ready(cx));
                    }
                    match waiting.take() {
                        Some(waiting) => {
                            let (mut service, request) = *waiting;
                            Progress::Called { future: service.call(request) }
                        }
                        None => return Poll::Pending,
                    }
                }
                ProgressProjection::Refused { response } => {
                    let (Some(response), Some(in_flight)) = (response.take(), this.in_flight.take()) else {
                        return Poll::Pending;
                    };
                    let mut response = response.map(|body| Answer::new(Content::Ours { body }, in_flight));
                    if response.body().in_flight.connection().protocol() == Protocol::Http1 {
                        // The next request may be a smuggled part of this one.
                        close(&mut response);
                    }
                    return Poll::Ready(Ok(response));
                }
            };
            this.progress.set(next);
        }
    }
}

fn finish<B: Body<Data = Bytes>>(
    mut response: Response<B>,
    in_flight: &mut Option<InFlight>,
    connects: bool,
) -> Poll<Result<Response<Answer<B>>, Infallible>> {
    // None: polled again after its end, which no caller may do.
    let Some(in_flight) = in_flight.take() else { return Poll::Pending };
    let (connection, status) = (in_flight.connection(), response.status());
    let tunnels = connects && status.is_success();
    match connection.protocol() {
        Protocol::Http1 if tunnels || status == StatusCode::SWITCHING_PROTOCOLS => {
            connection.activity().upgraded.set(true);
        }
        // Contract LIFE 3.
        Protocol::Http1 if connection.shared().signal.phase() >= Phase::Announced => close(&mut response),
        Protocol::Http1 => {}
        Protocol::Http2 => {
            if tunnels {
                connection.activity().tunnelled.set(true);
            }
        }
    }
    Poll::Ready(Ok(response.map(|body| Answer::new(Content::Service { body }, in_flight))))
}

fn close<B>(response: &mut Response<B>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
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
