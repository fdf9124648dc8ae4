//! Lists the services of this process in its registry, as a component: after the listeners are open, and withdrawn
//! before they close. In between what is listed follows readiness: others leave a process that is not ready alone,
//! unless there is no other.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use mainstay_core::{
    Result,
    health::Registry as Checks,
    lifecycle::{self, Component, Dependencies},
    server,
};
use mainstay_discovery::{
    self as discovery, Endpoint, Health, Lease, Registry, ServiceName, Unregistrable, registry,
};
use tokio_util::sync::CancellationToken;

use super::listener::Listener;

/// How long a start waits until others can find what was registered. Then the process is ready without: a registry that
/// is away keeps nobody from serving those who know him otherwise. As long it is waited before what was listed is taken
/// back for what is listed in its place.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(5);
/// How long a drain waits until the registry has taken note.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(2);

/// The registrations of this process. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Registration(Arc<Inner>);

struct Inner {
    registry: Arc<dyn Registry>,
    config: discovery::Config,
    /// The name of this process among its copies.
    instance: Option<String>,
    listeners: Vec<Advertised>,
    checks: Checks,
    /// Told to take everything back.
    withdraw: CancellationToken,
    /// Nothing is listed any more.
    withdrawn: CancellationToken,
}

/// A listener, and where others reach it if that was said.
pub(super) struct Advertised {
    pub(super) listener: Listener,
    pub(super) at: Option<Endpoint>,
}

/// Where others reach a listener can't be told.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{service}` listens on {address}, and it can't be told where others reach that: set discovery.advertise to the \
     host, or services.{service}.advertise to the whole endpoint, such as `http://HOST:PORT`"
)]
struct Unadvertised {
    service: ServiceName,
    address: String,
    source: Option<std::io::Error>,
}

impl Registration {
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        config: discovery::Config,
        instance: Option<String>,
        listeners: Vec<Advertised>,
        checks: Checks,
    ) -> Self {
        let (withdraw, withdrawn) = (CancellationToken::new(), CancellationToken::new());
        Self(Arc::new(Inner { registry, config, instance, listeners, checks, withdraw, withdrawn }))
    }
}

impl Component for Registration {
    fn name(&self) -> &str {
        "registration"
    }

    fn dependencies(&self) -> Dependencies {
        let listeners = self.0.listeners.iter().map(|advertised| advertised.listener.name().to_owned());
        listeners.fold(Dependencies::everything(), Dependencies::and)
    }

    async fn start(&self, context: lifecycle::Context) -> Result<()> {
        let mut endpoints = Vec::new();
        for advertised in &self.0.listeners {
            let service = advertised.listener.service_name();
            let mut endpoint = endpoint(advertised, &self.0.config, self.0.registry.as_ref()).await?;
            if let Some(instance) = &self.0.instance {
                endpoint = endpoint.with_metadata("instance", instance);
            }
            tracing::info!(%service, endpoint = %endpoint.place(), "registered");
            endpoints.push((service.clone(), endpoint));
        }
        let mut listed = Listed { endpoints, health: self.0.health(), leases: Vec::new() };
        listed.leases = listed.register(self.0.registry.as_ref(), listed.health)?;
        if !listed.established().await {
            let registry = self.0.registry.status().registry;
            tracing::warn!(registry, "the registry has not taken the registrations yet; it is tried on");
        }
        let (inner, stopping) = (self.0.clone(), context.tasks().stopping());
        context.serve(async move {
            // However this ends, nobody waits for it any longer.
            let _done = inner.withdrawn.clone().drop_guard();
            let follow = inner.withdraw.run_until_cancelled(listed.follow(&inner));
            stopping.run_until_cancelled(follow).await;
            join_all(listed.leases.into_iter().map(Lease::withdraw)).await;
            Ok(())
        });
        Ok(())
    }

    async fn withdraw(&self) -> Result<()> {
        self.0.withdraw.cancel();
        if tokio::time::timeout(WITHDRAWN_WITHIN, self.0.withdrawn.cancelled()).await.is_err() {
            tracing::warn!("the registry has not confirmed that the registrations are withdrawn");
        }
        Ok(())
    }
}

impl Inner {
    /// What others are to be told.
    fn health(&self) -> Health {
        if self.checks.is_ready() { Health::Serving } else { Health::Failing }
    }
}

/// What is listed.
struct Listed {
    endpoints: Vec<(ServiceName, Endpoint)>,
    health: Health,
    leases: Vec<Lease>,
}

impl Listed {
    fn register(&self, registry: &dyn Registry, health: Health) -> Result<Vec<Lease>, Unregistrable> {
        let register = |(service, endpoint): &(ServiceName, Endpoint)| {
            registry.register(service, endpoint.clone().with_health(health))
        };
        self.endpoints.iter().map(register).collect()
    }

    /// Waits until others can find what is listed; whether they can.
    async fn established(&self) -> bool {
        let established = join_all(self.leases.iter().map(Lease::established));
        tokio::time::timeout(ESTABLISHED_WITHIN, established).await.is_ok()
    }

    /// Lists the endpoints anew whenever readiness changes, and never as nothing in between: what was listed is taken
    /// back when what takes its place is there.
    async fn follow(&mut self, inner: &Inner) {
        let mut changes = inner.checks.subscribe();
        loop {
            changes.mark_unchanged();
            let health = inner.health();
            if health != self.health {
                match self.register(inner.registry.as_ref(), health) {
                    Ok(leases) => {
                        let _before = std::mem::replace(&mut self.leases, leases);
                        self.health = health;
                        tracing::info!(?health, "listed anew: whether the process is ready has changed");
                        self.established().await;
                    }
                    // As many as this process may have: they were taken once, so they will be again.
                    Err(error) => tracing::warn!(%error, ?health, "can't be listed anew"),
                }
            }
            if changes.changed().await.is_err() {
                // Nothing will change any more: the checks are gone.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What others are told of a listener.
async fn endpoint(
    advertised: &Advertised,
    config: &discovery::Config,
    registry: &dyn Registry,
) -> Result<Endpoint, Unadvertised> {
    let Advertised { listener, at } = advertised;
    let endpoint = match (at, listener.address()) {
        (Some(at), _) => at.clone(),
        (None, Some(bound)) => {
            let host = match &config.advertise {
                Some(host) => host.as_str().to_owned(),
                None => own_host(bound, registry).await.map_err(|source| Unadvertised {
                    service: listener.service_name().clone(),
                    address: bound.to_string(),
                    source: Some(source),
                })?,
            };
            Endpoint::tcp(host, bound.port()).with_tls(listener.is_tls())
        }
        (None, None) => match listener.configured() {
            server::Address::Unix(path) => match std::path::absolute(path) {
                Ok(path) => Endpoint::unix(path),
                Err(error) => return Err(unadvertised(listener, Some(error))),
            },
            _ => return Err(unadvertised(listener, None)),
        },
    };
    Ok(match &config.zone {
        Some(zone) => endpoint.with_zone(zone.as_str()),
        None => endpoint,
    })
}

fn unadvertised(listener: &Listener, source: Option<std::io::Error>) -> Unadvertised {
    Unadvertised {
        service: listener.service_name().clone(),
        address: listener.configured().to_string(),
        source,
    }
}

/// The address that a listener is bound to; where that is the wildcard, the one of this host towards the registry.
async fn own_host(bound: SocketAddr, registry: &dyn Registry) -> std::io::Result<String> {
    if !bound.ip().is_unspecified() {
        return Ok(bound.ip().to_string());
    }
    // `[::]` takes IPv4 as well, where the system has not turned that off.
    let towards = registry.own_address().filter(|ip| ip.is_ipv4() || bound.is_ipv6());
    match towards {
        Some(ip) => Ok(ip.to_string()),
        None => Ok(registry::own_address(None, bound.is_ipv4()).await?.to_string()),
    }
}
