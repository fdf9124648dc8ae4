//! What the host measures and records.

use mainstay_client::Client;
use mainstay_core::metrics::Definition;
use mainstay_core::{
    context::Ambient,
    health,
    metrics::Registry,
    middleware::{recover::Panics, shed},
    observe,
    trace::Tracer,
};
use mainstay_discovery::ServiceName;
#[cfg(feature = "telemetry")]
use mainstay_telemetry::{metrics, resource::Resource};

use super::{HostError, listener::Listener};

/// The metrics of the process, and what observes the requests of its services.
#[derive(Clone)]
pub(super) struct Telemetry {
    registry: Registry,
    tracer: Tracer,
    access_log: bool,
}

/// What tells metrics of its own whenever they are read.
pub(super) struct Sources {
    pub(super) client: Client,
    pub(super) health: health::Registry,
    pub(super) panics: Panics,
    pub(super) listeners: Vec<Listener>,
    pub(super) limiters: Vec<(ServiceName, shed::Limiter)>,
}

impl Telemetry {
    pub(super) fn new(tracer: Tracer, access_log: bool) -> Self {
        Self { registry: Registry::new(), tracer, access_log }
    }

    /// `ambient` with what observes the requests of `service`, and with the registry, for its own metrics.
    pub(super) fn observe(&self, service: &ServiceName, ambient: &Ambient) -> Result<Ambient, HostError> {
        let server = observe::Server::new(&self.registry, service.as_str(), self.tracer.clone())?;
        let server = server.with_access_log(self.access_log);
        Ok(ambient.clone().with(self.registry.clone()).with_server(server))
    }

    /// What observes the calls that the services make.
    pub(super) fn calls(&self) -> Result<observe::Client, HostError> {
        Ok(observe::Client::new(&self.registry)?)
    }

    /// Has these asked too.
    pub(super) fn ask(&self, sources: Sources) {
        let Sources { client, health, panics, listeners, limiters } = sources;
        let caught = Definition::new("mainstay.panics", "{panic}", "Panics that were caught in handlers");
        self.registry.observe(move |to| {
            client.observe(to);
            health.observe(to);
            to.counter(&caught, [], panics.count());
            listeners.iter().for_each(|listener| listener.observe(to));
            limiters.iter().for_each(|(service, limiter)| limiter.observe(service.as_str(), to));
        });
        #[cfg(feature = "telemetry")]
        metrics::observe_process(&self.registry);
        #[cfg(feature = "telemetry")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            metrics::observe_runtime(&self.registry, runtime);
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// `/metrics`.
    #[cfg(feature = "telemetry")]
    pub(super) fn route(&self, resource: Resource) -> axum::routing::MethodRouter {
        let registry = self.registry.clone();
        axum::routing::get(async move |headers: http::HeaderMap| {
            metrics::answer(&registry, &resource, &headers)
        })
    }
}
