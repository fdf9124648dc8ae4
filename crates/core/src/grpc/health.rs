//! `grpc.health.v1.Health`: `Check`, `Watch` and `List` (contract HEALTH 3).
//!
//! tonic-health's generated server does not have `List` yet, so the three methods are dispatched here.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use tonic::{
    Code, Request, Response, Status,
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::Watch;
use crate::{
    BoxError,
    health::{Registry, ServiceStatus},
};

/// The longest request taken, in bytes: it holds the name of a service.
const LONGEST_REQUEST: usize = 8 * 1024;

/// The health service over a [`Registry`].
///
/// `""` is the process, any other name a service given to [`Registry::add_service`]. `Check` of an unknown service is
/// `NOT_FOUND`; `Watch` of one says `SERVICE_UNKNOWN` and goes on. When the drain is announced everything is
/// `NOT_SERVING`; watches end when the listeners close.
#[derive(Debug, Clone)]
pub struct Health {
    registry: Registry,
}

impl Health {
    /// Answers for this registry.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }
}

impl NamedService for Health {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl<B> Service<http::Request<B>> for Health
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let registry = self.registry.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/grpc.health.v1.Health/Check" => grpc().unary(Check(registry), request).await,
                "/grpc.health.v1.Health/Watch" => grpc().server_streaming(WatchCall(registry), request).await,
                "/grpc.health.v1.Health/List" => {
                    Grpc::new(ProstCodec::default())
                        .max_decoding_message_size(LONGEST_REQUEST)
                        .unary(List(registry), request)
                        .await
                }
                _ => Status::new(Code::Unimplemented, "no such method").into_http(),
            })
        })
    }
}

fn grpc() -> Grpc<ProstCodec<HealthCheckResponse, HealthCheckRequest>> {
    Grpc::new(ProstCodec::default()).max_decoding_message_size(LONGEST_REQUEST)
}

struct Check(Registry);

impl UnaryService<HealthCheckRequest> for Check {
    type Response = HealthCheckResponse;
    type Future = Ready<Result<Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        ready(match self.0.service(&request.get_ref().service) {
            Some(status) => Ok(Response::new(response(Some(status)))),
            None => Err(Status::not_found("no such service")),
        })
    }
}

struct WatchCall(Registry);

impl ServerStreamingService<HealthCheckRequest> for WatchCall {
    type Response = HealthCheckResponse;
    type ResponseStream = Watch;
    type Future = Ready<Result<Response<Watch>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        ready(Ok(Response::new(Watch::new(self.0.clone(), request.into_inner().service))))
    }
}

struct List(Registry);

impl UnaryService<HealthListRequest> for List {
    type Response = HealthListResponse;
    type Future = Ready<Result<Response<HealthListResponse>, Status>>;

    fn call(&mut self, _: Request<HealthListRequest>) -> Self::Future {
        let services = self.0.services().into_iter();
        let statuses = services.map(|(name, status)| (name, response(Some(status)))).collect();
        ready(Ok(Response::new(HealthListResponse { statuses })))
    }
}

/// `None` is a service that is not known.
pub(super) fn response(status: Option<ServiceStatus>) -> HealthCheckResponse {
    let status = match status {
        Some(ServiceStatus::Serving) => ServingStatus::Serving,
        Some(ServiceStatus::NotServing) => ServingStatus::NotServing,
        None => ServingStatus::ServiceUnknown,
    };
    HealthCheckResponse { status: status.into() }
}

/// `grpc.health.v1.HealthListRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthListRequest {}

/// `grpc.health.v1.HealthListResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthListResponse {
    /// By the name of the service.
    #[prost(map = "string, message", tag = "1")]
    pub(super) statuses: HashMap<String, HealthCheckResponse>,
}
