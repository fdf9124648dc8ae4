//! A small shop: six services, in one process or in many. See the README beside it.

mod banner;
mod catalog;
mod database;
mod gateway;
mod identity;
mod interfaces;
mod inventory;
mod orders;
mod payments;

use mainstay::Host;

#[tokio::main]
async fn main() -> mainstay::Result<()> {
    shop().announce(banner::print).run().await
}

/// All of the shop; which services of it run is configuration.
fn shop() -> Host {
    Host::new()
        .load_with(identity::development)
        .service(gateway::service())
        .service(identity::service())
        .service(catalog::service())
        .service(orders::service())
        .service(inventory::service())
        .service(payments::service())
}
