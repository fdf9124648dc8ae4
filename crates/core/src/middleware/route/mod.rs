//! Tells which route of an axum router a request took.
#![doc = include_str!("README.md")]

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use axum::extract::MatchedPath;
use http::{Extensions, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::{context::RequestContext, observe};

/// Layer of [`Route`], for [`Router::route_layer`](axum::Router::route_layer).
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteLayer(());

impl RouteLayer {
    /// For all routes of a router.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Route<S> {
        Route { inner, route: Arc::default() }
    }
}

/// Middleware that tells what observes the request which route it took.
#[derive(Debug, Clone)]
pub struct Route<S> {
    inner: S,
    /// Known from the first request on: each route has a layer of its own.
    route: Arc<OnceLock<observe::Route>>,
}

impl<S, B> Service<Request<B>> for Route<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        RequestContext::peek(|context| {
            let (Some(seen), Some(server)) = (context.observation(), context.ambient().server()) else {
                return;
            };
            seen.set_route(|| {
                self.route.get_or_init(|| server.route(&matched(request.extensions()))).clone()
            });
        });
        self.inner.call(request)
    }
}

/// The path as it was routed. What axum calls the rest of a nested service is its own affair.
fn matched(extensions: &Extensions) -> String {
    let path = extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    path.replace("__private__axum_nest_tail_param", "rest")
}
