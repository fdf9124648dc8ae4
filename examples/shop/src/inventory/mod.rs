//! The stock, over gRPC. Orders reserve from it before they are paid.

mod config;
mod rpc;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mainstay::{
    Result, Service, ServiceContext,
    auth::{Methods, Require},
    lifecycle::{self, Component, Dependencies},
};

use tower::Layer as _;

use crate::database::Database;
use config::Config;
use store::Store;

/// What tonic generates from `proto/inventory.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    unnameable_types,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub(crate) mod proto {
    mainstay::tonic::include_proto!("shop.inventory.v1");
}

/// For gRPC reflection.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inventory.bin"));

/// The service `inventory`.
pub(crate) fn service() -> Service {
    Service::configured("inventory", build)
}

fn build(config: Arc<Config>, context: &ServiceContext) -> Result<Service> {
    let database = Database::new(config.database.as_deref(), store::SCHEMA)?;
    let store = Store::new(database.clone());
    let filling = Filling { store: store.clone(), config };
    Ok(context
        .service()
        .public_grpc(who_may().layer(rpc::server(store)))
        .descriptors(DESCRIPTORS)
        .component(database)
        .component(filling))
}

/// Everybody may look; the stock changes for orders alone.
fn who_may() -> Methods {
    let orders = Require::client("orders");
    Methods::new().public("GetStock").method("Reserve", orders.clone()).method("Release", orders)
}

/// Puts the first stock into an empty database.
struct Filling {
    store: Store,
    config: Arc<Config>,
}

impl Component for Filling {
    fn name(&self) -> &str {
        "stock"
    }

    fn dependencies(&self) -> Dependencies {
        Dependencies::on(["database"])
    }

    async fn start(&self, _: lifecycle::Context) -> Result<()> {
        self.store.fill(&self.config.stock).await
    }
}
