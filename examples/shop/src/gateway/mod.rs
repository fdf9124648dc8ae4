//! The one door: what the outside may reach, and where it leads.

mod config;
mod debug;

use std::sync::Arc;

use mainstay::{Result, Service, ServiceContext, gateway::Gateway};

use config::Config;

/// The service `gateway`.
pub(crate) fn service() -> Service {
    Service::configured("gateway", build)
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that a service is built by")]
fn build(config: Arc<Config>, context: &ServiceContext) -> Result<Service> {
    let gateway = Gateway::guarded(&config.routes(), context.client().clone())?;
    // It closes its routes itself.
    let service = context.service().public_http(gateway.into_router());
    Ok(if config.debug { service.http(debug::routes()) } else { service })
}
