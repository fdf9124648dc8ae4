//! The contract that every layer here keeps, as one probe: the service that was readied is the one that is called,
//! and what is dropped outside is dropped inside.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use tower_layer::Layer;
use tower_service::Service;

use crate::Body;

/// What happened inside.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) calls: AtomicUsize,
    pub(super) dropped_futures: AtomicUsize,
    pub(super) dropped_bodies: AtomicUsize,
}

/// How far the probe goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Never answers.
    Handler,
    /// Answers, and its body never ends.
    Body,
    /// Answers whole, at the second poll of the future and of the body.
    End,
}

/// A service that panics when it is called without having been readied. A clone is not ready.
#[derive(Debug)]
pub(super) struct Probe {
    ready: bool,
    until: Until,
    pub(super) seen: Arc<Seen>,
}

impl Probe {
    pub(super) fn new(until: Until) -> Self {
        Self { ready: false, until, seen: Arc::default() }
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self { ready: false, until: self.until, seen: Arc::clone(&self.seen) }
    }
}

impl<B> Service<Request<B>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ProbeFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> ProbeFuture {
        assert!(std::mem::take(&mut self.ready), "called without having been readied");
        self.seen.calls.fetch_add(1, Ordering::Relaxed);
        ProbeFuture { polls: 0, until: self.until, seen: Arc::clone(&self.seen) }
    }
}

#[derive(Debug)]
pub(super) struct ProbeFuture {
    polls: usize,
    until: Until,
    seen: Arc<Seen>,
}

impl Future for ProbeFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls += 1;
        if self.until == Until::Handler {
            return Poll::Pending;
        }
        if self.polls == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let body = ProbeBody { polls: 0, until: self.until, seen: Arc::clone(&self.seen) };
        Poll::Ready(Ok(Response::new(Body::new(body))))
    }
}

impl Drop for ProbeFuture {
    fn drop(&mut self) {
        self.seen.dropped_futures.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct ProbeBody {
    polls: usize,
    until: Until,
    seen: Arc<Seen>,
}

impl HttpBody for ProbeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls += 1;
        match (self.until, self.polls) {
            (Until::End, 2) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"whole"))))),
            (Until::End, 3..) => Poll::Ready(None),
            (Until::End, _) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }
}

impl Drop for ProbeBody {
    fn drop(&mut self) {
        self.seen.dropped_bodies.fetch_add(1, Ordering::Relaxed);
    }
}

/// Holds `layer` to the contract.
pub(super) async fn check<L, S, R>(layer: L)
where
    L: Layer<Probe, Service = S>,
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible> + Clone,
    R: HttpBody<Data = Bytes>,
    R::Error: std::fmt::Debug,
{
    let request = || Request::new(Body::empty());

    // Readied and called, three times, also through a clone taken amid: whole answers, everything dropped.
    let probe = Probe::new(Until::End);
    let seen = Arc::clone(&probe.seen);
    let mut service = layer.layer(probe);
    for _ in 0..3 {
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        let mut clone = service.clone();
        let first = service.call(request()).await.unwrap();
        poll_fn(|cx| clone.poll_ready(cx)).await.unwrap();
        let second = clone.call(request()).await.unwrap();
        for response in [first, second] {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "whole");
        }
    }
    assert_eq!(counts(&seen), (6, 6, 6));

    // Dropped before the first poll, and after it.
    let probe = Probe::new(Until::Handler);
    let seen = Arc::clone(&probe.seen);
    let mut service = layer.layer(probe);
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    drop(service.call(request()));
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    {
        let mut future = std::pin::pin!(service.call(request()));
        assert!(future.as_mut().now_or_never().is_none());
    }
    assert_eq!(counts(&seen), (2, 2, 0));

    // Dropped in the body, before its first poll and after it.
    let probe = Probe::new(Until::Body);
    let seen = Arc::clone(&probe.seen);
    let mut service = layer.layer(probe);
    for polls in 0..2 {
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        let response = service.call(request()).await.unwrap();
        let mut body = std::pin::pin!(response.into_body());
        for _ in 0..polls {
            assert!(body.as_mut().frame().now_or_never().is_none());
        }
    }
    assert_eq!(counts(&seen), (2, 2, 2));
}

fn counts(seen: &Seen) -> (usize, usize, usize) {
    let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    (of(&seen.calls), of(&seen.dropped_futures), of(&seen.dropped_bodies))
}
