//! What the host measures and records.

use mainstay_client::Client;
use mainstay_core::{
    config::Loader,
    context::Ambient,
    health,
    lifecycle::Lifecycle,
    metrics::{Definition, Registry},
    middleware::{recover::Panics, shed},
    observe,
    trace::Tracer,
};
use mainstay_discovery::ServiceName;
#[cfg(feature = "telemetry")]
use mainstay_telemetry::{
    metrics,
    resource::{self, Resource},
};

use super::{HostError, listener::Listener};
use crate::Settings;

/// The metrics of the process, and what observes the requests of its services.
pub(super) struct Telemetry {
    registry: Registry,
    tracer: Tracer,
    access_log: bool,
    #[cfg(feature = "telemetry")]
    resource: Resource,
    #[cfg(feature = "otlp")]
    export: Export,
}

/// What sends spans, and metrics.
#[cfg(feature = "otlp")]
struct Export {
    tasks: mainstay_core::task::Tasks,
    /// For what is left at the end.
    within: std::time::Duration,
}

/// What tells metrics of its own whenever they are read.
pub(super) struct Sources {
    pub(super) client: Client,
    pub(super) health: health::Registry,
    pub(super) panics: Panics,
    pub(super) listeners: Vec<Listener>,
    pub(super) limiters: Vec<(ServiceName, shed::Limiter)>,
    #[cfg(feature = "auth")]
    pub(super) verifier: Option<mainstay_auth::Verifier>,
}

/// What a test takes.
#[cfg(feature = "telemetry")]
pub(super) struct Captured {
    registry: Registry,
    tracer: Tracer,
    pub(super) logs: mainstay_telemetry::logs::Handle,
}

/// Nothing is.
#[cfg(not(feature = "telemetry"))]
pub(super) enum Captured {}

#[cfg(feature = "telemetry")]
impl Captured {
    pub(super) fn by(capture: &mainstay_telemetry::test::Capture) -> Self {
        let (registry, tracer) = (capture.registry().clone(), capture.tracer());
        Self { registry, tracer, logs: capture.logs().clone() }
    }
}

impl Telemetry {
    /// Of a process with these services. What sends spans runs from now on; it opens no connection before there is
    /// something to send.
    #[cfg_attr(not(feature = "telemetry"), expect(unused_variables, reason = "a resource has their names"))]
    pub(super) fn new(
        settings: &Settings,
        services: &[String],
        captured: Option<&Captured>,
    ) -> Result<Self, HostError> {
        #[cfg(feature = "telemetry")]
        let (registry, tracer) = match captured {
            Some(Captured { registry, tracer, .. }) => (registry.clone(), Some(tracer.clone())),
            None => (Registry::new(), None),
        };
        #[cfg(not(feature = "telemetry"))]
        let (registry, tracer) = (Registry::new(), None);
        #[cfg(feature = "telemetry")]
        let resource = resource_of(settings, services);
        #[cfg(feature = "otlp")]
        let (tracer, export) = Export::new(settings, &resource, services, &registry, tracer)?;
        #[cfg(not(feature = "otlp"))]
        let tracer: Tracer = tracer.unwrap_or_default();
        Ok(Self {
            registry,
            tracer,
            access_log: settings.has_access_log(),
            #[cfg(feature = "telemetry")]
            resource: resource.of_service(&services.join(",")),
            #[cfg(feature = "otlp")]
            export,
        })
    }

    /// Has log records sent, where that is configured. `None`: the program has set up its logs itself.
    #[cfg(feature = "otlp")]
    pub(super) fn send_logs(
        &self,
        settings: &Settings,
        services: &[String],
        logs: Option<&mainstay_telemetry::logs::Handle>,
    ) -> Result<(), HostError> {
        let Export { tasks, within } = &self.export;
        let resource = self.resource.clone();
        let exporter =
            mainstay_telemetry::otlp::log_exporter(&settings.otlp, resource, &self.registry, tasks)?;
        let Some((records, exporter)) = exporter else { return Ok(()) };
        match logs {
            Some(logs) if logs.send_to(records, &services.join(",")) => {
                tasks.spawn_detached(exporter.run(tasks.stopping(), *within));
            }
            _ => tracing::warn!("otlp.logs has no effect: the program has set up its logs itself"),
        }
        Ok(())
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
        #[cfg(feature = "auth")]
        let verifier = sources.verifier;
        let Sources { client, health, panics, listeners, limiters, .. } = sources;
        let caught = Definition::new("mainstay.panics", "{panic}", "Panics that were caught in handlers");
        self.registry.observe(move |to| {
            client.observe(to);
            health.observe(to);
            to.counter(&caught, [], panics.count());
            listeners.iter().for_each(|listener| listener.observe(to));
            limiters.iter().for_each(|(service, limiter)| limiter.observe(service.as_str(), to));
            #[cfg(feature = "auth")]
            verifier.iter().for_each(|verifier| verifier.observe(to));
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
    pub(super) fn route(&self) -> axum::routing::MethodRouter {
        let (registry, resource) = (self.registry.clone(), self.resource.clone());
        axum::routing::get(async move |headers: http::HeaderMap| {
            metrics::answer(&registry, &resource, &headers)
        })
    }

    /// Has what was recorded sent when everything else has stopped.
    pub(super) fn flush(self, lifecycle: Lifecycle) -> Lifecycle {
        #[cfg(feature = "otlp")]
        return lifecycle.with_flush("telemetry", async move {
            let Export { tasks, within } = self.export;
            // What was lost is said by the task; it is no reason to have ended badly.
            let _ = tasks.stop(within * 11 / 10).await;
            Ok(())
        });
        #[cfg(not(feature = "otlp"))]
        lifecycle
    }
}

/// Has OpenTelemetry's own variables read.
pub(super) fn variables(loader: Loader) -> Loader {
    #[cfg(feature = "otlp")]
    let loader = loader.translate(mainstay_telemetry::otlp::variables);
    #[cfg(feature = "telemetry")]
    let loader = loader.translate(resource::variables);
    loader
}

/// What the process is: found out, and told.
#[cfg(feature = "telemetry")]
fn resource_of(settings: &Settings, services: &[String]) -> Resource {
    let mut told = settings.resource.clone();
    if services.len() > 1 && told.remove("service.name").is_some() {
        tracing::warn!(
            "resource.\"service.name\" is not heeded: several services run here, each goes by its own name"
        );
    }
    Resource::detect().with_all(&told)
}

#[cfg(feature = "otlp")]
impl Export {
    fn new(
        settings: &Settings,
        resource: &Resource,
        services: &[String],
        registry: &Registry,
        captured: Option<Tracer>,
    ) -> Result<(Tracer, Self), HostError> {
        let tasks = mainstay_core::task::Tasks::new();
        // Less than what the lifecycle gives, so that the end is its own.
        let within = settings.lifecycle.stop_timeout.get() * 8 / 10;
        if let Some(tracer) = captured {
            return Ok((tracer, Self { tasks, within }));
        }
        let exporter =
            mainstay_telemetry::otlp::exporter(&settings.otlp, resource.clone(), registry, &tasks)?;
        let exporter =
            exporter.map(|(spans, exporter)| (spans, exporter.with_redact(settings.log.redact.clone())));
        let process = services.join(",");
        let pusher =
            mainstay_telemetry::otlp::pusher(&settings.otlp, resource.clone(), &process, registry, &tasks);
        if let Some(pusher) = pusher {
            tasks.spawn_detached(pusher.run(tasks.stopping(), within));
        }
        let tracer = match exporter {
            Some((spans, exporter)) => {
                tasks.spawn_detached(exporter.run(tasks.stopping(), within));
                settings.trace.tracer(spans)
            }
            // What callers decided is passed on all the same.
            None => Tracer::default(),
        };
        Ok((tracer, Self { tasks, within }))
    }
}
