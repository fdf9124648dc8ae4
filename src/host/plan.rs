//! What a host will run: checked as a whole before a socket opens.

use std::{collections::HashSet, sync::Arc, time::Duration};

use http::Response;
use mainstay_client::Client;
use mainstay_core::{
    Body, Result,
    admin::{self, Page},
    config::{Findings, Loaded, Origin, Watched},
    context::Ambient,
    lifecycle::{Component, DynComponent, Lifecycle, component},
    middleware::recover::Panics,
    observe::Report,
    task::Tasks,
};
use mainstay_discovery::{
    Endpoint, FirstOf, ServiceName, endpoint::Written, fixed::Fixed, memory, registry::Kind,
};
#[cfg(feature = "telemetry")]
use mainstay_telemetry::{
    logs,
    slo::{Export, Slos},
};
use serde_json::{Value, json};
use tower::util::MapResponse;

#[cfg(feature = "auth")]
use super::auth;
#[cfg(feature = "telemetry")]
use super::log;
use super::{
    Addresses, HostError,
    admin::Admin,
    discovery,
    listener::{Listener, MAIN},
    registration::{Advertised, Registration},
    telemetry::{Captured, Sources, Telemetry},
    wire::Wire,
};
use crate::{
    Service, Settings,
    service::{Parts, ServiceContext},
    settings::InProcess,
    stack::Stack,
};

/// How long connections of the client that are still busy are waited for, after everything else has stopped; and how long
/// the registry is.
const CLOSE: Duration = Duration::from_secs(1);

/// The services don't go together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// The program has no services.
    #[error("the host has no services: add one with `Host::service`")]
    Empty,
    /// A name that no service can have.
    #[error(
        "`{0}` can't be the name of a service: expected lower-case letters, digits and hyphens, a letter first, at most 63 in all"
    )]
    Name(String),
    /// Two services of one name.
    #[error("two services are named `{0}`")]
    Twice(String),
}

/// What will run.
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) addresses: Addresses,
    pub(super) lifecycle: Lifecycle,
}

impl Plan {
    /// Opens no socket but that of the registry, and that after the whole configuration was checked.
    pub(super) async fn new(
        services: Vec<Service>,
        components: Vec<DynComponent>,
        loaded: &Arc<Loaded>,
        captured: Option<Captured>,
    ) -> Result<Self, HostError> {
        let settings = Settings::clone(&loaded.get::<Settings>(""));
        let services = chosen(services, &settings)?;
        #[cfg(feature = "telemetry")]
        let logs = match &captured {
            Some(captured) => Some(captured.logs.clone()),
            None => match logs::init(&settings.log) {
                Ok(handle) => Some(handle),
                // The program, or another host in it, has set its logs up already: theirs hold.
                Err(logs::Error::AlreadySet) => None,
                Err(error) => return Err(error.into()),
            },
        };
        if loaded.profile() == "dev" {
            tracing::info!(drain.delay = %settings.drain.delay, "the profile is `dev`: relaxed, not for production");
        }

        let mut lifecycle =
            Lifecycle::new().with_config(settings.lifecycle.clone()).with_drain(settings.drain.clone());
        let here = memory::Registry::new();
        let tasks = Tasks::new();
        let registry = settings.discovery.connect(&tasks).await?;
        let takes_registrations = settings.discovery.registry.is_some_and(Kind::takes_registrations);
        // What somebody wrote down holds against what a registry says.
        let mut resolver = FirstOf::new(here.clone()).or(Fixed::from(&settings.discovery.fixed));
        if let Some(registry) = &registry {
            resolver = resolver.or(registry.clone());
        }
        let names: Vec<String> = services.iter().map(|(name, _)| name.to_string()).collect();
        let telemetry = Telemetry::new(&settings, &names, captured.as_ref())?;
        #[cfg(feature = "otlp")]
        if captured.is_none() {
            telemetry.send_logs(&settings, &names, logs.as_ref())?;
        }
        let seen = telemetry.calls()?;
        let mut client = Client::builder().config(settings.client.clone()).observer(seen.clone());
        if let Some(zone) = &settings.discovery.zone {
            client = client.zone(zone.as_str());
        }
        if let Some(instance) = &settings.host.instance {
            client = client.id(instance);
        }
        let client = client.build(resolver.clone());
        let ambient = Ambient::new(lifecycle.drain()).with(client.clone());
        let (panics, health) = (Panics::default(), lifecycle.health().clone());
        #[cfg(feature = "auth")]
        let verifier = auth::open(&settings, loaded, &tasks, &client).await?;
        #[cfg(feature = "auth")]
        let ambient = auth::tell(verifier.as_ref(), ambient);
        #[cfg(feature = "auth")]
        let outgoing = auth::outgoing(&settings, &tasks, &client)?;
        #[cfg(feature = "policy")]
        let policies = auth::policy::policies(&settings, &tasks, telemetry.registry()).await?;

        lifecycle = components.into_iter().fold(lifecycle, Lifecycle::with);
        let (mut listeners, mut advertised, mut limiters) = (Vec::new(), Vec::new(), Vec::new());
        let mut servers = Vec::new();
        #[cfg(feature = "openapi")]
        let mut descriptions = Vec::new();
        #[cfg(feature = "telemetry")]
        let mut slos = Slos::default();
        for (name, service) in services {
            #[cfg(feature = "auth")]
            let client = auth::calling(&outgoing, &name, &client);
            let ambient = telemetry.observe(&name, &ambient)?.with(client.clone());
            servers.extend(ambient.server().cloned());
            let context = ServiceContext {
                name: name.clone(),
                client: client.clone(),
                metrics: telemetry.registry().clone(),
                loaded: loaded.clone(),
                #[cfg(feature = "policy")]
                policies: policies.clone(),
            };
            #[cfg_attr(
                not(any(feature = "openapi", feature = "telemetry")),
                allow(unused_mut, reason = "only a description or an objective changes them")
            )]
            let mut parts = made(service, &context)?;
            #[cfg(feature = "openapi")]
            descriptions
                .extend(parts.describe(name.as_str())?.map(|description| (name.clone(), description)));
            #[cfg(feature = "telemetry")]
            for (slo, promised) in std::mem::take(&mut parts.slos) {
                slos = slos.with(name.as_str(), slo, promised);
            }
            let stack = Stack::new(&settings, ambient, panics.clone());
            #[cfg(feature = "auth")]
            let stack = stack.with_verifier(verifier.clone());
            #[cfg(feature = "grpc")]
            let routes = parts.routes.with(parts.grpc.companions(&health)?);
            #[cfg(not(feature = "grpc"))]
            let routes = parts.routes;
            // Of the process, once: on the main listener.
            #[cfg(feature = "auth")]
            let routes = if limiters.is_empty() { routes.with(auth::routes(&settings)) } else { routes };
            let answers = stack.wrap(routes, parts.cors.map(|cors| *cors));
            match settings.host.in_process {
                InProcess::Call => {
                    let service =
                        MapResponse::new(answers.clone(), |answer: Response<_>| answer.map(Body::new));
                    client.locals().insert(&name, service);
                    here.register(&name, Endpoint::in_process()).keep();
                }
                InProcess::Wire => {
                    let server = settings.server.clone();
                    lifecycle =
                        lifecycle.with(Wire::new(name.clone(), server, answers.clone(), here.clone()));
                }
            }

            let own = settings.services.get(name.as_str()).cloned().unwrap_or_default();
            let at = own.advertise.map(|Written(endpoint)| endpoint);
            let own = own.address;
            let (label, address) = match own {
                Some(address) => (name.to_string(), Some(address)),
                None => (MAIN.to_owned(), limiters.is_empty().then(|| settings.server.address.clone())),
            };
            if let Some(address) = address {
                let mut config = settings.server.clone();
                config.address = address;
                let listener = Listener::new(label, name.clone(), config, answers);
                lifecycle = lifecycle.with(listener.clone());
                advertised.push(Advertised { listener: listener.clone(), at });
                listeners.push(listener);
            } else if takes_registrations {
                tracing::info!(service = %name, "has no listener (services.NAME.address): other processes don't find it");
            }
            parts.checks.into_iter().for_each(|check| health.register(check));
            lifecycle = parts
                .components
                .into_iter()
                .fold(lifecycle, |lifecycle, component| lifecycle.with_scoped(name.as_str(), component));
            limiters.push((name, stack.limiter().clone()));
        }

        let is_set = loaded.origin("server.address") != Origin::Default;
        if is_set && !listeners.iter().any(|listener| listener.name() == MAIN) {
            tracing::warn!(
                "nothing listens on server.address: the first service has services.NAME.address, an address of its own"
            );
        }

        if let Some(registry) = registry.as_ref().filter(|_| takes_registrations) {
            let instance = settings.host.instance.clone();
            let (registry, discovery) = (registry.clone(), settings.discovery.clone());
            let registration = Registration::new(registry, discovery, instance, advertised, health.clone());
            lifecycle = lifecycle.with(registration);
        }

        #[cfg(feature = "telemetry")]
        let slos = slos.overlaid(&settings.slo).of(names.iter().map(String::as_str));
        #[cfg(feature = "telemetry")]
        slos.check()?;

        telemetry.ask(Sources {
            client: client.clone(),
            health: health.clone(),
            panics: panics.clone(),
            listeners: listeners.clone(),
            limiters: limiters.clone(),
            #[cfg(feature = "auth")]
            verifier: verifier.clone(),
        });
        #[cfg(feature = "auth")]
        verifier.iter().for_each(|verifier| health.register(verifier.check()));
        let admin = settings.admin.enabled.then(|| {
            let (observer, listeners) = (lifecycle.observer(), listeners.clone());
            let pages = admin::Admin::new(health)
                .with_status("lifecycle", move || observer.to_json())
                .with_status("listeners", move || listeners.iter().map(Listener::to_json).collect())
                .with_status("calls", {
                    let client = client.clone();
                    move || json!(client.targets())
                })
                .with_status("panics", move || panics.count().into())
                .with_status("shed", move || {
                    let snapshots =
                        limiters.iter().map(|(name, limiter)| (name.to_string(), json!(limiter.snapshot())));
                    Value::Object(snapshots.collect())
                })
                .with_requests(move || Report::new(&servers, Some(&seen)))
                .with_page(discovery::page(resolver, registry, client.clone()))
                .with_page(Page::new("/config", "the configuration with its sources, secrets redacted", {
                    let view = loaded.view();
                    move || view.to_json()
                }));
            #[cfg(feature = "auth")]
            let pages = pages.with_page(auth::page(verifier));
            #[cfg(feature = "policy")]
            let pages = policies
                .iter()
                .map(auth::policy::page)
                .fold(pages, |pages, (path, title, route)| pages.with_route(path, title, route));
            #[cfg(feature = "telemetry")]
            let pages = pages
                .with_page(Export::new(&slos).page(slos, telemetry.registry().clone()))
                .with_route("/metrics", "for Prometheus", telemetry.route())
                .with_route(
                    "/log",
                    "what is logged; PUT ?filter=DIRECTIVES&for=TIME, DELETE",
                    log::route(logs.clone()),
                );
            #[cfg(all(feature = "profile", unix))]
            let pages = pages.with_route(
                "/debug/pprof/profile",
                "a CPU profile, for pprof; ?seconds=10",
                super::profile::route(),
            );
            #[cfg(feature = "openapi")]
            let pages = descriptions.into_iter().fold(pages, |pages, (name, description)| {
                let title = format!("what `{name}` takes and answers (OpenAPI)");
                pages.with_page(Page::new(format!("/openapi/{name}"), title, move || {
                    description.as_value().clone()
                }))
            });
            Admin::new(settings.admin.address, pages.router())
        });
        if let Some(admin) = &admin {
            lifecycle = lifecycle.with(admin.clone());
        }
        #[cfg(feature = "telemetry")]
        {
            if let Some(logs) = logs.clone() {
                log::observe(&logs, telemetry.registry());
                lifecycle = lifecycle.with_flush("logs", async move {
                    logs.sum_up();
                    Ok(())
                });
            }
            let settings_now = loaded.watch::<Settings>("");
            lifecycle = lifecycle.with(following(logs, settings.log.filter.clone(), settings_now));
        }
        #[cfg(feature = "auth")]
        {
            lifecycle = lifecycle.with(auth::following(outgoing, loaded.watch::<Settings>("")));
        }
        let calls = calling_as(client.clone(), loaded.watch::<Settings>(""));
        lifecycle = lifecycle.with(calls).with(reloading(loaded)).with_flush("client", {
            let client = client.clone();
            async move { Ok(client.close(CLOSE).await?) }
        });
        // A registry that can't be told any more is no reason to have ended badly.
        lifecycle = lifecycle.with_flush("registry", async move {
            if let Err(error) = tasks.stop(CLOSE).await {
                tracing::warn!(%error, "the registry did not end in time");
            }
            Ok(())
        });
        let lifecycle = telemetry.flush(lifecycle);
        Ok(Self { client, addresses: Addresses { listeners, admin }, lifecycle })
    }
}

/// The descriptions of the services that run here.
#[cfg(feature = "openapi")]
pub(super) fn descriptions(
    services: Vec<Service>,
    loaded: &Arc<Loaded>,
) -> Result<std::collections::BTreeMap<String, crate::interface::Document>, HostError> {
    let settings = loaded.get::<Settings>("");
    #[cfg(feature = "policy")]
    let policies = auth::policy::unwatched(&settings)?;
    let mut descriptions = std::collections::BTreeMap::new();
    for (name, service) in chosen(services, &settings)? {
        // They are made, and never call anybody.
        let client = Client::new(memory::Registry::new());
        let metrics = mainstay_core::metrics::Registry::new();
        let context = ServiceContext {
            name: name.clone(),
            client,
            metrics,
            loaded: loaded.clone(),
            #[cfg(feature = "policy")]
            policies: policies.clone(),
        };
        let mut parts = made(service, &context)?;
        descriptions
            .extend(parts.describe(name.as_str())?.map(|description| (name.to_string(), description)));
    }
    Ok(descriptions)
}

fn made(service: Service, context: &ServiceContext) -> Result<Parts, HostError> {
    service
        .into_parts(context)
        .map_err(|error| HostError::Service { service: context.name().to_owned(), cause: error.into_cause() })
}

/// The services that run here, with their names.
fn chosen(services: Vec<Service>, settings: &Settings) -> Result<Vec<(ServiceName, Service)>, Misfit> {
    let wanted = settings.host.services.as_ref();
    let runs = |service: &Service| wanted.is_none_or(|names| names.iter().any(|name| name == service.name()));
    services.into_iter().filter(runs).map(|service| Ok((name_of(&service)?, service))).collect()
}

/// Refuses a configuration that names services which the program, whose services are `known`, doesn't have.
pub(super) fn check_choice(known: &[String], settings: &Settings, findings: &mut Findings) {
    let expected = format!("a service of this program: {}", known.join(", "));
    let wanted = settings.host.services.iter().flatten().enumerate();
    for (index, _) in wanted.filter(|(_, name)| !known.contains(name)) {
        findings.reject(&format!("host.services[{index}]"), &expected);
    }
    for name in settings.services.keys().filter(|name| !known.contains(name)) {
        findings.within("services", |findings| findings.reject(name, &expected));
    }
    #[cfg(feature = "telemetry")]
    for (name, _) in settings.slo.iter().filter(|(name, _)| !known.iter().any(|known| known == name)) {
        findings.within("slo", |findings| findings.reject(name, &expected));
    }
    if settings.host.services.as_ref().is_some_and(Vec::is_empty) {
        findings.reject("host.services", "at least one service; left out, all of them run here");
    }
}

/// Refuses names that are none, and those that are there twice.
pub(super) fn check_names(services: &[Service]) -> Result<(), Misfit> {
    if services.is_empty() {
        return Err(Misfit::Empty);
    }
    let mut names = HashSet::new();
    for service in services {
        name_of(service)?;
        if !names.insert(service.name()) {
            return Err(Misfit::Twice(service.name().to_owned()));
        }
    }
    Ok(())
}

fn name_of(service: &Service) -> Result<ServiceName, Misfit> {
    ServiceName::new(service.name()).map_err(|_| Misfit::Name(service.name().to_owned()))
}

/// Logs what `log.filter` says, also when it changes, and for some time what was asked for besides.
#[cfg(feature = "telemetry")]
fn following(
    logs: Option<logs::Handle>,
    mut filter: String,
    mut settings: Watched<Settings>,
) -> impl Component {
    component("logs", move |context| async move {
        let stopping = context.tasks().stopping();
        if let Some(logs) = logs.clone() {
            let stopping = stopping.clone();
            context
                .tasks()
                .spawn_detached(async move { stopping.run_until_cancelled(logs.keep_time()).await });
        }
        context.keep(async move {
            while stopping.run_until_cancelled(settings.changed()).await.is_some() {
                let new = settings.load().log.filter.clone();
                if new == filter {
                    continue;
                }
                match &logs {
                    None => tracing::warn!("log.filter changed, but the program has set up its logs itself"),
                    Some(logs) if logs.is_from_environment() => {
                        tracing::warn!("log.filter changed, but RUST_LOG goes before it");
                    }
                    Some(logs) => match logs.set_filter(&new) {
                        Ok(()) => tracing::info!(filter = %new, "logs are filtered anew"),
                        Err(error) => tracing::warn!(%error, "the changed log.filter is refused"),
                    },
                }
                filter = new;
            }
            Ok(())
        });
        Ok(())
    })
}

/// Has calls made as `client` says, also when it changes.
fn calling_as(client: Client, mut settings: Watched<Settings>) -> impl Component {
    component("calls", move |context| async move {
        let stopping = context.tasks().stopping();
        context.keep(async move {
            while stopping.run_until_cancelled(settings.changed()).await.is_some() {
                let new = settings.load().client.clone();
                if *client.config() != new {
                    client.reconfigure(new);
                }
            }
            Ok(())
        });
        Ok(())
    })
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
