//! Policies that are read, decide, change, and guard routes. None of this needs a server.

mod audit;
mod decided;
mod guard;
mod mistakes;
mod property;
mod reload;

use super::*;

pub(super) const ISSUER: &str = "https://id.example";

/// A small shop: orders belong to somebody, and to a region.
pub(super) const SCHEMA: &str = r#"
entity Region in [Region];
entity Role in [Role];
entity Team;
entity User in [Role, Team] {
    issuer: String, subject: String, client?: String, scopes: Set<String>, roles: Set<String>, means: String,
    tenant?: String, level?: Long,
};
entity Client in [Role] { issuer: String, client: String, scopes: Set<String> };
entity Service;
entity Order in [Region] { owner: String, total: Long, price?: decimal, contact?: User, frozen?: Bool };
action read, write;
action "GET /orders/{id}" in [read] appliesTo { principal: [User, Client], resource: [Order, Service] };
action "DELETE /orders/{id}" in [write] appliesTo {
    principal: [User, Client], resource: [Order, Service], context: { reason?: String }
};
action "shop.Orders/Place" in [write] appliesTo { principal: [User, Client], resource: Service };
"#;

pub(super) fn config(policies: &str) -> Config {
    Config::new(SCHEMA, policies)
        .with_issuer(ISSUER)
        .with_claim("tenant", "tenant")
        .with_claim("level", "org.level")
}

pub(super) fn policies(text: &str) -> Policies {
    Policies::read(&config(text)).unwrap()
}

pub(super) fn alice() -> Caller {
    Caller::user(ISSUER, "alice")
}

pub(super) fn order() -> Resource {
    Resource::new("Order", "7").with("owner", "alice").with("total", 12)
}

pub(super) const READ: &str = "GET /orders/{id}";
pub(super) const DELETE: &str = "DELETE /orders/{id}";

/// How it came out, and the ids of the policies that made it so, sorted.
pub(super) fn decided(
    policies: &Policies,
    caller: &Caller,
    action: &str,
    resource: &Resource,
) -> (Outcome, Vec<String>) {
    let principal = caller.clone().into_principal();
    let decision = policies.decide(&Question::new(&principal, action, resource));
    let mut ids: Vec<_> = decision.policies.iter().map(|policy| policy.id.clone()).collect();
    ids.sort();
    (decision.outcome, ids)
}

pub(super) fn outcome(policies: &Policies, caller: &Caller, action: &str, resource: &Resource) -> Outcome {
    decided(policies, caller, action, resource).0
}
