//! A small shop: five services, in one process or in many. See the README beside it.

mod banner;
mod catalog;
mod database;
mod gateway;
mod interfaces;
mod inventory;
mod orders;
mod payments;

use mainstay::{Host, config::figment::providers::Serialized};

#[tokio::main]
async fn main() -> mainstay::Result<()> {
    shop().announce(banner::print).run().await
}

/// All of the shop; which services of it run is configuration.
fn shop() -> Host {
    // Nobody has to log in yet, whatever the profile is.
    let for_everybody = Serialized::default("auth.required", false);
    Host::new()
        .load_with(|loader| loader.named_source("the default of the shop", for_everybody))
        .service(gateway::service())
        .service(catalog::service())
        .service(orders::service())
        .service(inventory::service())
        .service(payments::service())
}
