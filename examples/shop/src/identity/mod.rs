//! Who people and services are: the identity provider that comes along. Put another one in its place by configuration alone.

mod config;

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};

use mainstay::{
    Error, Result, Service, ServiceContext,
    auth::issuer::Provider,
    axum::{
        Router,
        extract::{Request, State},
        response::Response,
    },
    config::Loader,
    error::Kind,
    lifecycle::{self, Component},
};
use tower::ServiceExt;

use config::Config;
pub(crate) use config::SHOPPER;

/// The service `identity`.
pub(crate) fn service() -> Service {
    Service::configured("identity", build)
}

fn build(config: Arc<Config>, context: &ServiceContext) -> Result<Service> {
    let opened = Arc::new(OnceLock::new());
    // Its clients prove who they are by other means than the tokens that it issues.
    let routes = Router::new().fallback(answer).with_state(opened.clone());
    Ok(context.service().public_http(routes).component(Opening { config, opened }))
}

type Opened = Arc<OnceLock<Router>>;

async fn answer(State(opened): State<Opened>, request: Request) -> Result<Response> {
    let Some(routes) = opened.get() else { return Err(Error::new(Kind::Unavailable)) };
    let Ok(response) = routes.clone().oneshot(request).await.map_err(|never: Infallible| never);
    Ok(response)
}

/// Its keys are read, or made, before it answers.
struct Opening {
    config: Arc<Config>,
    opened: Opened,
}

impl Component for Opening {
    fn name(&self) -> &str {
        "provider"
    }

    async fn start(&self, context: lifecycle::Context) -> Result<()> {
        let provider = Provider::open(&self.config.provider(), context.tasks()).await?;
        let _ = self.opened.set(provider.router());
        Ok(())
    }
}

/// In the profile `dev` the shop takes the tokens of its own provider, and calls itself by them, with secrets that everybody
/// knows. In any other it has to be told: the same keys, with secrets of your own (`identity.toml` has them all).
pub(crate) fn development(loader: Loader) -> Loader {
    let values = [
        ("app.identity.development", "true"),
        // Whom tokens are for: one name for all of the shop.
        ("auth.audience", "shop"),
        ("auth.issuers.shop.issuer", config::ISSUER),
        ("auth.issuers.shop.service", "identity"),
        // What orders shows to those that take nobody else.
        ("auth.outgoing.clients.orders.issuer", config::ISSUER),
        ("auth.outgoing.clients.orders.service", "identity"),
        ("auth.outgoing.clients.orders.client_id", "orders"),
        ("auth.outgoing.clients.orders.client_secret", config::ORDERS_SECRET),
        ("auth.outgoing.targets.inventory.mode", "client_credentials"),
        ("auth.outgoing.targets.inventory.audience", "shop"),
        ("auth.outgoing.targets.payments.mode", "client_credentials"),
        ("auth.outgoing.targets.payments.audience", "shop"),
    ];
    values.into_iter().fold(loader, |loader, (key, value)| loader.profile_default("dev", key, value))
}
