//! What a host will run: checked as a whole before a socket opens.

use std::{collections::HashSet, sync::Arc, time::Duration};

use http::Response;
use mainstay_client::Client;
use mainstay_core::{
    Body, Result,
    admin::{self, Page},
    config::{Loaded, UsageError},
    context::Ambient,
    lifecycle::{Component, DynComponent, Lifecycle, component},
    middleware::recover::Panics,
};
use mainstay_discovery::{Endpoint, FirstOf, ServiceName, fixed::Fixed, memory::Registry};
#[cfg(feature = "telemetry")]
use mainstay_telemetry::logs;
use serde_json::{Value, json};
use tower::util::MapResponse;

use super::{Addresses, HostError, admin::Admin, listener::Listener};
use crate::{Service, Settings, service::ServiceContext, stack::Stack};

/// How long connections of the client that are still busy are waited for, after everything else has stopped.
const CLOSE: Duration = Duration::from_secs(1);

/// The services and the configuration don't fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// The command line is wrong.
    #[error("{0}; --help tells more")]
    Usage(UsageError),
    /// The program has no services.
    #[error("the host has no services: add one with `Host::service`")]
    Empty,
    /// The configuration asks for no service at all.
    #[error("host.services is empty: name the services that run here, or leave it out to run all of them")]
    None,
    /// A name that no service can have.
    #[error("`{0}` can't be the name of a service: lower-case letters, digits and hyphens, at most 63")]
    Name(String),
    /// Two services of one name.
    #[error("two services are named `{0}`")]
    Twice(String),
    /// The configuration names a service that the program doesn't have.
    #[error("{key} = `{name}` ({source_of}): this program has no such service; it has {}", known.join(", "))]
    #[non_exhaustive]
    Unknown {
        /// The key.
        key: String,
        /// What set it.
        source_of: String,
        /// The name.
        name: String,
        /// The services that there are.
        known: Vec<String>,
    },
}

/// What will run.
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) addresses: Addresses,
    pub(super) lifecycle: Lifecycle,
}

impl Plan {
    pub(super) fn new(
        services: Vec<Service>,
        components: Vec<DynComponent>,
        loaded: &Arc<Loaded>,
    ) -> Result<Self, HostError> {
        let settings = Settings::clone(&loaded.get::<Settings>(""));
        let services = chosen(services, &settings, loaded)?;
        #[cfg(feature = "telemetry")]
        match mainstay_telemetry::logs::init(&settings.log) {
            // The program, or another host in it, has set its logs up already: theirs hold.
            Ok(_) | Err(logs::Error::AlreadySet) => {}
            Err(error) => return Err(error.into()),
        }

        let mut lifecycle =
            Lifecycle::new().with_config(settings.lifecycle.clone()).with_drain(settings.drain.clone());
        let registry = Registry::new();
        let resolver = FirstOf::new(registry.clone()).or(Fixed::from(&settings.discovery.fixed));
        let client = Client::builder().config(settings.client.clone()).build(resolver);
        let ambient = Ambient::new(lifecycle.drain()).with(client.clone());
        let (panics, health) = (Panics::default(), lifecycle.health().clone());

        lifecycle = components.into_iter().fold(lifecycle, Lifecycle::with);
        let (mut listeners, mut limiters) = (Vec::new(), Vec::new());
        for (name, service) in services {
            let context =
                ServiceContext { name: name.clone(), client: client.clone(), loaded: loaded.clone() };
            let parts = service
                .into_parts(&context)
                .map_err(|error| HostError::Service { service: name.to_string(), error })?;
            let stack = Stack::new(&settings, ambient.clone(), panics.clone());
            #[cfg(feature = "grpc")]
            let routes = parts.router.merge(parts.grpc.companions(&health)?);
            #[cfg(not(feature = "grpc"))]
            let routes = parts.router;
            let answers = stack.wrap(routes);
            client.locals().insert(
                &name,
                MapResponse::new(answers.clone(), |answer: Response<_>| answer.map(Body::new)),
            );
            registry.register(&name, Endpoint::in_process()).keep();

            let own = settings.services.get(name.as_str()).and_then(|service| service.address.clone());
            let (label, address) = match own {
                Some(address) => (name.to_string(), Some(address)),
                None => ("main".to_owned(), limiters.is_empty().then(|| settings.server.address.clone())),
            };
            if let Some(address) = address {
                let mut config = settings.server.clone();
                config.address = address;
                let listener = Listener::new(label, name.clone(), config, answers);
                lifecycle = lifecycle.with(listener.clone());
                listeners.push(listener);
            }
            lifecycle = parts
                .components
                .into_iter()
                .fold(lifecycle, |lifecycle, component| lifecycle.with_scoped(name.as_str(), component));
            limiters.push((name, stack.limiter().clone()));
        }

        let admin = settings.admin.enabled.then(|| {
            let (observer, listeners) = (lifecycle.observer(), listeners.clone());
            let pages = admin::Admin::new(health)
                .with_status("lifecycle", move || observer.to_json())
                .with_status("listeners", move || listeners.iter().map(Listener::to_json).collect())
                .with_status("panics", move || panics.count().into())
                .with_status("shed", move || {
                    let snapshots =
                        limiters.iter().map(|(name, limiter)| (name.to_string(), json!(limiter.snapshot())));
                    Value::Object(snapshots.collect())
                })
                .with_page(Page::new("/config", "the configuration with its sources, secrets redacted", {
                    let view = loaded.view();
                    move || view.to_json()
                }));
            Admin::new(settings.admin.address, pages.router())
        });
        if let Some(admin) = &admin {
            lifecycle = lifecycle.with(admin.clone());
        }
        lifecycle = lifecycle.with(reloading(loaded)).with_flush("client", {
            let client = client.clone();
            async move { Ok(client.close(CLOSE).await?) }
        });
        Ok(Self { client, addresses: Addresses { listeners, admin }, lifecycle })
    }
}

/// The services that run here, with their names.
fn chosen(
    services: Vec<Service>,
    settings: &Settings,
    loaded: &Loaded,
) -> Result<Vec<(ServiceName, Service)>, Misfit> {
    if services.is_empty() {
        return Err(Misfit::Empty);
    }
    let mut named = Vec::with_capacity(services.len());
    let mut names = HashSet::new();
    for service in services {
        let name = ServiceName::new(service.name()).map_err(|_| Misfit::Name(service.name().to_owned()))?;
        if !names.insert(service.name().to_owned()) {
            return Err(Misfit::Twice(service.name().to_owned()));
        }
        named.push((name, service));
    }
    let unknown = |key: &str, name: &str| Misfit::Unknown {
        key: key.to_owned(),
        source_of: loaded.origin(key).to_string(),
        name: name.to_owned(),
        known: named.iter().map(|(name, _)| name.to_string()).collect(),
    };
    if let Some(name) = settings.services.keys().find(|name| !names.contains(*name)) {
        return Err(unknown(&format!("services.{name}"), name));
    }
    let Some(wanted) = &settings.host.services else { return Ok(named) };
    if wanted.is_empty() {
        return Err(Misfit::None);
    }
    if let Some(name) = wanted.iter().find(|name| !names.contains(*name)) {
        return Err(unknown("host.services", name));
    }
    named.retain(|(_, service)| wanted.iter().any(|name| name == service.name()));
    Ok(named)
}

/// Takes changes of configuration files over while the process runs.
fn reloading(loaded: &Loaded) -> impl Component {
    let reloader = std::sync::Mutex::new(Some(loaded.reloader()));
    component("configuration", move |context| {
        let reloader = reloader.lock().ok().and_then(|mut reloader| reloader.take());
        async move {
            if let Some(reloader) = reloader {
                let stopping = context.tasks().stopping();
                context.keep(async move {
                    reloader.run(stopping).await;
                    Ok(())
                });
            }
            Ok(())
        }
    })
}
