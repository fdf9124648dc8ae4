//! The table `app.inventory`.

use std::collections::BTreeMap;

use mainstay::config::{Findings, Section};
use serde::{Deserialize, Serialize};

use crate::database::Location;

#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// The SQLite file. Default: a temporary one, gone when the process ends.
    pub(super) database: Location,
    /// How much there is of each product in a new database. Default: some of all.
    pub(super) stock: BTreeMap<String, u32>,
}

impl Default for Config {
    fn default() -> Self {
        let stock = [("mug", 100), ("lamp", 25), ("kettle", 40), ("globe", 3)];
        let stock = stock.into_iter().map(|(sku, available)| (sku.to_owned(), available)).collect();
        Self { database: None, stock }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        for (sku, available) in &self.stock {
            if *available > 1_000_000 {
                findings.reject(&format!("stock.{sku}"), "at most 1000000");
            }
        }
    }
}
