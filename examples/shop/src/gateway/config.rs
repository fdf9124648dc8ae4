//! The table `app.gateway`.

use mainstay::{
    config::{Findings, Section},
    gateway::{self, config::Route},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// Adds `/debug/slow`, `/debug/hang` and `/debug/panic`, for checks of how the shop behaves under trouble. Default false: they
    /// let anybody trouble it.
    pub(super) debug: bool,
    /// The gateway as the framework has it. Its routes are added to the shop's; one of the same name replaces it.
    pub(super) edge: gateway::Config,
}

impl Config {
    /// The gateway's configuration, with the shop's own routes.
    pub(super) fn routes(&self) -> gateway::Config {
        let mut config = self.edge.clone();
        for (name, route) in [
            ("catalog", Route::prefix("/products", "catalog").to_everybody()),
            ("identity", Route::prefix("/identity", "identity").to_everybody()),
            ("orders", Route::prefix("/orders", "orders")),
            // gRPC, by its path: everybody may look at the stock, only orders may change it.
            ("stock", Route::path("/shop.inventory.v1.Inventory/GetStock", "inventory").to_everybody()),
        ] {
            config.routes.entry(name.to_owned()).or_insert(route);
        }
        config
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        findings.within("edge", |findings| self.routes().check(findings));
    }
}
