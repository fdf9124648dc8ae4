//! What a service is made with.

use std::sync::Arc;

use mainstay_client::Client;
use mainstay_core::{
    config::{Loaded, Section, Watched},
    metrics::Registry,
};
use mainstay_discovery::ServiceName;

use crate::Service;

/// What a service is given when it is made: its configuration and the client that reaches the others.
#[derive(Clone)]
pub struct ServiceContext {
    pub(crate) name: ServiceName,
    pub(crate) client: Client,
    pub(crate) metrics: Registry,
    pub(crate) loaded: Arc<Loaded>,
    #[cfg(feature = "policy")]
    pub(crate) policies: Option<mainstay_auth::policy::Policies>,
}

impl ServiceContext {
    /// The name of the service.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The client, for calls by logical name: `http://payments/...`.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The metrics of the process, for the service's own. Those of what it does for its users, orders placed, say, belong
    /// here; requests and calls are measured already.
    ///
    /// ```
    /// use mainstay::{Result, Service, ServiceContext, axum::{Router, routing::post}, metrics::Definition};
    ///
    /// fn orders(context: &ServiceContext) -> Result<Service> {
    ///     let placed = Definition::new("shop.orders.placed", "{order}", "Orders that were placed");
    ///     let placed = context.metrics().counter(placed, ["payment"])?;
    ///     let by_card = placed.with(["card"]);
    ///     Ok(context.service().http(Router::new().route("/orders", post(async move || by_card.add(1)))))
    /// }
    ///
    /// let service = Service::from_fn("orders", orders);
    /// ```
    #[must_use]
    pub fn metrics(&self) -> &Registry {
        &self.metrics
    }

    /// The policies of the process (`auth.policy`), for layers and handlers that ask them.
    ///
    /// # Errors
    /// Where none are configured: a service that asks policies does not start without.
    #[cfg(feature = "policy")]
    pub fn policies(&self) -> crate::Result<&mainstay_auth::policy::Policies> {
        self.policies.as_ref().ok_or_else(|| {
            let what = format!(
                "service `{}` asks policies, and none are configured: expected `auth.policy.paths`",
                self.name
            );
            crate::Error::new(crate::error::Kind::FailedPrecondition).with_source(what)
        })
    }

    /// An empty service of this name.
    #[must_use]
    pub fn service(&self) -> Service {
        Service::new(self.name.as_str())
    }

    /// The service's configuration (`app.NAME`), kept current while the process runs: for the keys that `T` declares
    /// reloadable. [`Service::configured`] declared it.
    ///
    /// # Panics
    /// When the service was not made by [`Service::configured`] with this type.
    #[must_use]
    #[track_caller]
    pub fn watch<T: Section>(&self) -> Watched<T> {
        self.loaded.watch(&place(self.name.as_str()))
    }
}

impl std::fmt::Debug for ServiceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceContext").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where the configuration of the service `name` stands.
pub(crate) fn place(name: &str) -> String {
    format!("app.{name}")
}
