//! Who may do what, once it is known who calls.
#![doc = include_str!("README.md")]

mod future;
mod guarded;
mod methods;
mod require;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use mainstay_core::{context::RequestContext, error::Protocol, middleware::FromBody};
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    future::ResponseFuture,
    guarded::{Guarded, RoutesFuture},
    methods::Methods,
    require::Require,
};
use crate::{
    Principal, Refusal,
    authenticate::{
        Anonymous,
        answer::{denied, refused},
        is_open, unexplained,
    },
};

/// What a process says that serves everybody: among the ambient values of its
/// [context layer](mainstay_core::middleware::context::ContextLayer), it lifts what [`Require`] and [`Methods`] want. Where it
/// was not said, and no [`AuthenticateLayer`](crate::AuthenticateLayer) is around them, they let nobody in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

/// Middleware that lets in who may, of those who are known. Made by the layers [`Require`] and [`Methods`].
#[derive(Debug, Clone)]
pub struct Authorize<S> {
    inner: S,
    wanted: Wanted,
}

#[derive(Debug, Clone)]
enum Wanted {
    Of(Require),
    ByMethod(Arc<Methods>),
}

impl<S> Layer<S> for Require {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize { inner, wanted: Wanted::Of(self.clone()) }
    }
}

impl<S> Layer<S> for Methods {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize { inner, wanted: Wanted::ByMethod(Arc::new(self.clone())) }
    }
}

impl Require {
    /// What is answered to `request` in place of what it asks for, if who sent it is not what is wanted: what the layer does, for a
    /// service that finds out by itself what is wanted for a request. The reason is logged and counted.
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
        let Some(principal) = request.extensions().get::<Principal>() else { return stranger(request) };
        let refusal = self.check(principal).err()?;
        Some(told(principal, refusal, Some(self), Protocol::of_request(request)))
    }
}

impl Methods {
    fn refusal<B>(&self, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
        match self.of(request.uri().path()) {
            methods::Wanted::Nothing => None,
            methods::Wanted::Of(require) => require.refusal(request),
            methods::Wanted::Undeclared => {
                let Some(principal) = request.extensions().get::<Principal>() else {
                    return stranger(request);
                };
                Some(told(principal, Refusal::UndeclaredMethod, None, Protocol::of_request(request)))
            }
        }
    }
}

/// The answer to `principal`, who may not do this.
fn told(
    principal: &Principal,
    refusal: Refusal,
    wanted: Option<&Require>,
    protocol: Protocol,
) -> Response<Full<Bytes>> {
    let (client, subject) = (principal.client(), principal.subject());
    let required = wanted.map(tracing::field::display);
    tracing::info!(reason = refusal.name(), required, client, subject, "a request is not allowed");
    denied(refusal, wanted.and_then(Require::scopes), protocol)
}

/// The answer to a request of whose sender nothing is known; none where that is how the process wants it.
fn stranger<B>(request: &Request<B>) -> Option<Response<Full<Bytes>>> {
    let is_let_in = request.extensions().get::<Anonymous>().is_none() && is_open();
    (!is_let_in).then(|| refuse(request))
}

/// The answer to a request of whose sender nothing is known.
pub(crate) fn refuse<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let protocol = Protocol::of_request(request);
    match request.extensions().get::<Anonymous>() {
        Some(Anonymous(verifier)) => refused(verifier, Refusal::NoCredentials, protocol),
        None => unexplained().answer(protocol, &RequestContext::current().unwrap_or_default()),
    }
}

impl<S, B, R> Service<Request<B>> for Authorize<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: FromBody,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let refusal = match &self.wanted {
            Wanted::Of(require) => require.refusal(&request),
            Wanted::ByMethod(methods) => methods.refusal(&request),
        };
        match refusal {
            None => ResponseFuture::called(self.inner.call(request)),
            Some(answer) => ResponseFuture::answered(answer),
        }
    }
}

/// A service that tonic generated stays one.
#[cfg(feature = "grpc")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for Authorize<S> {
    const NAME: &'static str = S::NAME;
}
