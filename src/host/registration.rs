//! Lists the services of this process in its registry, as a component: after the listeners are open, and withdrawn
//! before they close.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use mainstay_core::{
    Result,
    lifecycle::{self, Component, Dependencies},
    server,
};
use mainstay_discovery::{self as discovery, Endpoint, Lease, Registry, ServiceName, registry};

use super::listener::Listener;

/// How long a start waits until others can find what was registered. Then the process is ready without: a registry that
/// is away keeps nobody from serving those who know him otherwise.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(5);
/// How long a drain waits until the registry has taken note.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(2);

/// The registrations of this process. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Registration(Arc<Inner>);

struct Inner {
    registry: Arc<dyn Registry>,
    config: discovery::Config,
    listeners: Vec<Advertised>,
    leases: Mutex<Vec<Lease>>,
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
        listeners: Vec<Advertised>,
    ) -> Self {
        Self(Arc::new(Inner { registry, config, listeners, leases: Mutex::default() }))
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

    async fn start(&self, _: lifecycle::Context) -> Result<()> {
        let Inner { registry, config, listeners, leases } = &*self.0;
        let mut registered = Vec::new();
        for advertised in listeners {
            let service = advertised.listener.service_name();
            let endpoint = endpoint(advertised, config, registry.as_ref()).await?;
            tracing::info!(%service, endpoint = %endpoint.place(), "registered");
            registered.push(registry.register(service, endpoint)?);
        }
        let established = join_all(registered.iter().map(Lease::established));
        if tokio::time::timeout(ESTABLISHED_WITHIN, established).await.is_err() {
            let registry = registry.status().registry;
            tracing::warn!(registry, "the registry has not taken the registrations yet; it is tried on");
        }
        *leases.lock().unwrap_or_else(PoisonError::into_inner) = registered;
        Ok(())
    }

    async fn withdraw(&self) -> Result<()> {
        let leases = std::mem::take(&mut *self.0.leases.lock().unwrap_or_else(PoisonError::into_inner));
        let withdrawn = join_all(leases.into_iter().map(Lease::withdraw));
        if tokio::time::timeout(WITHDRAWN_WITHIN, withdrawn).await.is_err() {
            tracing::warn!("the registry has not confirmed that the registrations are withdrawn");
        }
        Ok(())
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
