//! Orders: the one service here that calls others, and keeps its promises whatever they do.

mod config;
mod events;
mod order;
mod placing;
mod routes;
mod services;
mod store;

use std::{sync::Arc, time::Duration};

use mainstay::{
    Result, Service, ServiceContext,
    lifecycle::{self, Component, Dependencies},
    task::Tasks,
    telemetry::slo::Slo,
};

use crate::database::Database;
use config::Config;
use placing::Placing;

const SECOND: Duration = Duration::from_secs(1);

/// How often orders that were left behind are looked for.
const RECOVERY: Duration = Duration::from_secs(5);

/// The service `orders`.
pub(crate) fn service() -> Service {
    Service::configured("orders", build)
}

fn build(config: Arc<Config>, context: &ServiceContext) -> Result<Service> {
    let database = Database::new(config.database.as_deref(), store::SCHEMA)?;
    let placing = Placing {
        store: store::Store::new(database.clone()),
        services: services::Services::new(context.client().clone(), config.payment_timeout.get()),
        changes: events::Changes::new(),
        tasks: Tasks::new(),
    };
    let (routes, description) = routes::routes(placing.clone()).split_for_parts();
    Ok(context
        .service()
        .http(routes)
        .openapi(description)
        .slo("placing", Slo::availability(99.0).with_method("POST").with_route("/orders"))
        // Not of all requests: a stream of events is none the worse for being long.
        .slo("fast", Slo::latency(95.0, SECOND).with_method("POST").with_route("/orders"))
        .component(database)
        .component(Underway { placing, config }))
}

/// The orders under way: waited for at the end, and looked for after a crash.
struct Underway {
    placing: Placing,
    config: Arc<Config>,
}

impl Component for Underway {
    fn name(&self) -> &str {
        "placing"
    }

    fn dependencies(&self) -> Dependencies {
        Dependencies::on(["database"])
    }

    async fn start(&self, _: lifecycle::Context) -> Result<()> {
        let recovery = self.placing.clone().recover(self.config.recover_after.get(), RECOVERY);
        self.placing.tasks.spawn_detached(recovery);
        Ok(())
    }

    async fn drain(&self) -> Result<()> {
        Ok(self.placing.tasks.stop(Duration::from_secs(10)).await?)
    }
}
