//! gRPC services beside the routes, on the same port.

use std::convert::Infallible;

use axum::Router;
use http::{Request, Response};
use mainstay_core::{
    grpc::{Health, InvalidDescriptors, reflection},
    health::Registry,
};
use tonic::{body::Body, server::NamedService};

use crate::{service::Routes, stack};

/// What tonic generates for a service: implemented by all of them, not to be implemented by hand.
pub trait GrpcService:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + NamedService
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> GrpcService for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// The gRPC services of one service.
#[derive(Debug, Default)]
pub(crate) struct Mounted {
    /// Their full names.
    names: Vec<&'static str>,
    /// Encoded `FileDescriptorSet`s, for reflection.
    descriptors: Vec<&'static [u8]>,
}

impl Mounted {
    /// The routes of `service`: `/{full name}/{method}`, for gRPC and gRPC-Web.
    pub(crate) fn mount<S: GrpcService>(&mut self, service: S) -> Router {
        self.names.push(S::NAME);
        routes(service)
    }

    /// Describes services.
    pub(crate) fn describe(&mut self, set: &'static [u8]) {
        self.descriptors.push(set);
    }

    /// The routes that go with gRPC services: health, and reflection where they were described. A service without any
    /// answers for its health too: it may be a gateway to some, or sit behind a balancer that asks over gRPC.
    ///
    /// Health is for everybody: a kubelet and a balancer have no token. Reflection tells what there is to call, and is closed
    /// like that.
    pub(crate) fn companions(&self, health: &Registry) -> Result<Routes, InvalidDescriptors> {
        for name in &self.names {
            health.add_service(*name);
        }
        let public = routes(Health::new(health.clone()));
        let closed = match self.descriptors.as_slice() {
            [] => Router::new(),
            descriptors => reflection(descriptors.iter().copied())?,
        };
        Ok(Routes { closed, public })
    }
}

/// The routes of one gRPC service.
fn routes<S: GrpcService>(service: S) -> Router {
    Router::new().route_service(&format!("/{}/{{*method}}", S::NAME), stack::grpc(service))
}
