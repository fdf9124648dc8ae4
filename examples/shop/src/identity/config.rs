//! The table `app.identity`.

use mainstay::{
    auth::issuer::{self, Client, Grant, User},
    config::{Findings, Section},
};
use serde::{Deserialize, Serialize};

/// Where it is for everybody: behind the gateway.
pub(super) const ISSUER: &str = "http://127.0.0.1:8080/identity";

/// The secret of the service `orders`, in development.
pub(super) const ORDERS_SECRET: &str = "orders, in development";

/// A program that shops, in development: its id and its secret.
pub(crate) const SHOPPER: (&str, &str) = ("shopper", "shopper-in-development");

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// Knows the service `orders`, the program `shopper`, an application in a browser and the user `ada`, by secrets that everybody
    /// knows. Default: only in the profile `dev`.
    development: bool,
    /// The provider as the framework has it.
    provider: issuer::Config,
}

impl Config {
    /// The provider's configuration, with those who are known in development.
    pub(super) fn provider(&self) -> issuer::Config {
        let mut config = self.provider.clone();
        if config.issuer.is_empty() {
            ISSUER.clone_into(&mut config.issuer);
        }
        if self.development {
            for (id, client) in clients() {
                config.clients.entry(id.to_owned()).or_insert(client);
            }
            let ada = || User::with_password("lovelace");
            config.users.entry("ada".to_owned()).or_insert_with(ada);
        }
        config
    }
}

fn clients() -> [(&'static str, Client); 3] {
    let may_shop = ["orders:read", "orders:write"];
    [
        // Itself, where nobody but orders is let in.
        (
            "orders",
            Client::with_secret(ORDERS_SECRET)
                .with_grants([Grant::ClientCredentials])
                .with_audiences(["shop"]),
        ),
        (
            SHOPPER.0,
            Client::with_secret(SHOPPER.1)
                .with_grants([Grant::ClientCredentials])
                .with_scopes(may_shop)
                .with_audiences(["shop"]),
        ),
        // Somebody at a browser, sent back to whatever port of this machine.
        (
            "web",
            Client::public()
                .with_grants([Grant::AuthorizationCode, Grant::RefreshToken])
                .with_redirect_uri("http://127.0.0.1/back")
                .with_scopes(["openid", "profile", "offline_access"].into_iter().chain(may_shop))
                .with_audiences(["shop"]),
        ),
    ]
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        findings.within("provider", |findings| self.provider().check(findings));
    }
}
