//! What a careful team puts together from tower-http for the set that the standard stack has: a request id, panics
//! caught, a time limit, a limit on concurrency that sheds, a limit on bodies.

use std::time::Duration;

use axum::{BoxError, error_handling::HandleErrorLayer, http::StatusCode};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};
use tower_http::{
    catch_panic::CatchPanicLayer,
    limit::RequestBodyLimitLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    timeout::TimeoutLayer,
};

use super::{Result, plain::axum_with, routes};

pub(super) async fn serve() -> Result {
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(30)))
        .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::SERVICE_UNAVAILABLE))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(1024))
        .layer(RequestBodyLimitLayer::new(2 * 1024 * 1024));
    axum_with(routes().layer(layers)).await
}
