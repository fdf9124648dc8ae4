//! Payments: slow and flaky on purpose, like the ones outside.
//!
//! A payment is put under an id that the caller chose, so that one whose answer was lost can be put again, and taken
//! back whether or not it was made.

mod chaos;
mod config;
mod routes;

use std::sync::Arc;

use mainstay::{Result, Service, ServiceContext, auth::Require, client::Operation, telemetry::slo::Slo};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::database::Database;
use chaos::Chaos;
use config::Config;

const SCHEMA: &str = include_str!("schema.sql");

/// What is to be paid.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Charge {
    pub(crate) amount_cents: u32,
    /// What the shop's page got from the payment provider in place of the card's number.
    pub(crate) token: String,
}

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = payments::Status)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Paid,
    /// The bank said no. That is an answer and not a failure.
    Declined,
    /// It was taken back.
    Void,
}

/// A payment, as it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub(crate) struct Payment {
    pub(crate) id: String,
    pub(crate) status: Status,
}

/// Pays, for other services.
pub(crate) const PAY: Operation<Charge, Payment> =
    Operation::put("payments", "/payments/{id}").takes().answers();

/// Takes a payment back, whether or not it was made.
pub(crate) const TAKE_BACK: Operation = Operation::delete("payments", "/payments/{id}");

/// The service `payments`.
pub(crate) fn service() -> Service {
    Service::configured("payments", build)
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that a service is built by")]
fn build(config: Arc<Config>, context: &ServiceContext) -> Result<Service> {
    let database = Database::new(config.database.as_deref(), SCHEMA)?;
    let chaos = Chaos::new(context.watch());
    let (routes, description) = routes::routes(database.clone(), chaos).split_for_parts();
    // A bank that fails as often as this one can't be promised more of.
    let paying = Slo::availability(85.0).with_method("PUT").with_route("/payments/{id}");
    // Nobody else has anything to pay here.
    let routes = routes.layer(Require::client("orders"));
    Ok(context.service().http(routes).openapi(description).component(database).slo("paying", paying))
}
