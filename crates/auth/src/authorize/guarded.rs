//! Routes that are closed, but for those that were declared public.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    response::Response,
    routing::{Route, future::RouteFuture},
};
use bytes::Bytes;
use http::{Request, header};
use mainstay_core::BoxError;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::refuse;
use crate::Principal;

/// Routes of axum that only who has a valid token reaches, but for those declared public; to stand inside of an
/// [optional](crate::AuthenticateLayer::optional) layer.
///
/// There are two routers. Who is known is routed by the one with all routes. Everybody else is routed by one in which the
/// closed routes, their methods that are not allowed, and what leads nowhere, are replaced by the same refusal: nobody
/// without a token gets to a closed handler, or learns which routes there are.
///
/// A fallback belongs to the router that it was given to: one of the public routes is for everybody, and then answers
/// what leads nowhere.
#[derive(Clone)]
pub struct Guarded {
    all: Router,
    /// For who is not known; `None` where that makes no difference.
    for_strangers: Option<Router>,
}

impl Guarded {
    /// These routes, closed and public ones.
    ///
    /// # Panics
    /// When both have the same route, or both have a fallback, as [`Router::merge`] does.
    #[must_use]
    #[track_caller]
    pub fn new(closed: Router, public: Router) -> Self {
        // In this order: of two default fallbacks axum keeps the one that is merged in.
        let for_strangers = public.clone().merge(closed.clone().layer(RefuseLayer));
        Self { all: public.merge(closed), for_strangers: Some(for_strangers) }
    }

    /// These routes, all of them for everybody: for a process that has said so.
    #[must_use]
    pub fn open(all: Router) -> Self {
        Self { all, for_strangers: None }
    }

    /// Changes the routers, in the same way.
    #[must_use]
    pub fn map(self, change: impl Fn(Router) -> Router) -> Self {
        Self { all: change(self.all), for_strangers: self.for_strangers.map(change) }
    }
}

impl<B> Service<Request<B>> for Guarded
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RoutesFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routers are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> RoutesFuture {
        let router = match &mut self.for_strangers {
            Some(for_strangers) if request.extensions().get::<Principal>().is_none() => for_strangers,
            _ => &mut self.all,
        };
        RoutesFuture { inner: router.call(request) }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("is_open", &self.for_strangers.is_none()).finish_non_exhaustive()
    }
}

pin_project! {
    /// Future of [`Guarded`].
    pub struct RoutesFuture {
        #[pin]
        inner: RouteFuture<Infallible>,
    }
}

impl Future for RoutesFuture {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(self.project().inner.poll(cx))?;
        // axum adds them behind everybody's back, also to a refusal: one would tell which methods a route has, the other that
        // there is a route at all. The server knows the length.
        if response.extensions_mut().remove::<Refused>().is_some() {
            response.headers_mut().remove(header::ALLOW);
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Poll::Ready(Ok(response))
    }
}

impl fmt::Debug for RoutesFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutesFuture").finish_non_exhaustive()
    }
}

/// Put instead of what is closed.
#[derive(Debug, Clone, Copy)]
struct RefuseLayer;

/// Refuses everybody.
#[derive(Debug, Clone, Copy)]
struct Refuse;

/// An answer of [`Refuse`].
#[derive(Debug, Clone, Copy)]
struct Refused;

impl Layer<Route> for RefuseLayer {
    type Service = Refuse;

    fn layer(&self, _: Route) -> Refuse {
        Refuse
    }
}

impl Service<Request<Body>> for Refuse {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut answer = refuse(&request).map(Body::new);
        answer.extensions_mut().insert(Refused);
        ready(Ok(answer))
    }
}
