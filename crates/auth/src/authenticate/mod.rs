//! Who sends a request, found out before it is worked on.
#![doc = include_str!("README.md")]

pub(crate) mod answer;
mod credentials;
mod extract;
mod future;
mod resource;

use std::task::{Context, Poll};

use http::{Request, Response, header};
use mainstay_core::{context::RequestContext, error::Protocol, middleware::FromBody};
use tower_layer::Layer;
use tower_service::Service;

pub(crate) use self::extract::{Anonymous, is_open, unexplained};
use self::{answer::refused, credentials::Shown};
pub use self::{
    extract::{Claims, Unauthenticated},
    future::ResponseFuture,
    resource::metadata,
};
use crate::{Principal, Refusal, Verifier, certificate};

/// Layer of [`Authenticate`].
#[derive(Debug, Clone)]
pub struct AuthenticateLayer {
    verifier: Verifier,
    is_optional: bool,
}

impl AuthenticateLayer {
    /// Lets in who has a token that `verifier` finds good.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, is_optional: false }
    }

    /// Also lets in who has no token at all; a bad one is refused all the same. What is inside decides who needs one:
    /// [`Guarded`](crate::authorize::Guarded) routes, [`Require`](crate::Require), or a handler that takes a [`Principal`].
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate { inner, verifier: self.verifier.clone(), is_optional: self.is_optional }
    }
}

/// Middleware that lets in who has a valid token, with the [`Principal`] among the extensions of the request.
#[derive(Debug, Clone)]
pub struct Authenticate<S> {
    inner: S,
    verifier: Verifier,
    is_optional: bool,
}

impl<S, B, R> Service<Request<B>> for Authenticate<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: FromBody,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S, Request<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Only we say who it is.
        request.extensions_mut().remove::<Principal>();
        let token = match credentials::shown(&request, &self.verifier) {
            Ok(Shown::Token(token)) => token,
            Ok(Shown::ApiKey(key)) => match self.verifier.api_key(key) {
                Ok(principal) => {
                    request.extensions_mut().insert(principal);
                    return ResponseFuture::called(self.inner.call(request));
                }
                Err(refusal) => {
                    let protocol = Protocol::of_request(&request);
                    return ResponseFuture::answered(refused(&self.verifier, refusal, protocol));
                }
            },
            Err(refusal) => {
                let has_nothing = refusal == Refusal::NoCredentials;
                let certified = if has_nothing { self.verifier.certified(&request) } else { None };
                if let Some(principal) = certified {
                    request.extensions_mut().insert(principal);
                } else if has_nothing && self.is_optional {
                    request.extensions_mut().insert(Anonymous(self.verifier.clone()));
                } else {
                    let protocol = Protocol::of_request(&request);
                    return ResponseFuture::answered(refused(&self.verifier, refusal, protocol));
                }
                return ResponseFuture::called(self.inner.call(request));
            }
        };
        if let Some(principal) = self.verifier.known_with(token, certificate::of(&request)) {
            admit(&mut request, principal);
            return ResponseFuture::called(self.inner.call(request));
        }
        let token = token.to_owned();
        let certificate = certificate::of(&request).map(ToOwned::to_owned);
        let clone = self.inner.clone();
        // What was readied goes with the request; the clone is not ready.
        let inner = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::verifying(self.verifier.clone(), (token, certificate), inner, request)
    }
}

/// Says who sends it: to all further in, and to what makes calls on its behalf.
fn admit<B>(request: &mut Request<B>, principal: Principal) {
    if let Some(authorization) = request.headers().get(header::AUTHORIZATION) {
        RequestContext::admit(authorization);
    }
    request.extensions_mut().insert(principal);
}
