//! A listening socket of a service, as a component: opened after everything else, drained first.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use mainstay_core::{
    Result,
    lifecycle::{self, Component, Dependencies},
    metrics::Observations,
    server::{self, Server},
};
use mainstay_discovery::ServiceName;
use serde_json::json;

use crate::stack::Standard;

/// What the listener on `server.address` is called.
pub(super) const MAIN: &str = "main";

/// The listener of one service. Clones are the same listener.
#[derive(Clone)]
pub(super) struct Listener(Arc<Inner>);

struct Inner {
    /// `main` for `server.address`, else the name of the service.
    label: String,
    /// Its name among the components, which no service has.
    name: String,
    service: ServiceName,
    config: server::Config,
    stack: Standard,
    open: OnceLock<Open>,
}

/// What is known of a listener once it is open.
struct Open {
    address: Option<SocketAddr>,
    stats: server::Stats,
}

impl Listener {
    pub(super) fn new(label: String, service: ServiceName, config: server::Config, stack: Standard) -> Self {
        let name = if label == MAIN { label.clone() } else { format!("listener:{label}") };
        Self(Arc::new(Inner { label, name, service, config, stack, open: OnceLock::new() }))
    }

    pub(super) fn service(&self) -> &str {
        self.0.service.as_str()
    }

    pub(super) fn service_name(&self) -> &ServiceName {
        &self.0.service
    }

    /// Where it was told to listen.
    pub(super) fn configured(&self) -> &server::Address {
        &self.0.config.address
    }

    /// Whether it speaks TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.0.config.tls.is_some()
    }

    /// Where it listens; none before it is open, and for a Unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.open.get()?.address
    }

    /// Tells its metrics, once it is open.
    pub(super) fn observe(&self, to: &mut Observations) {
        if let Some(open) = self.0.open.get() {
            open.stats.observe(&self.0.label, to);
        }
    }

    /// Its name, address and counters, for the admin page.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let Inner { label, service, config, open, .. } = &*self.0;
        let counted = open.get().map(|open| open.stats.snapshot());
        json!({
            "listener": label,
            "service": service.as_str(),
            "address": self.address().map_or_else(|| config.address.to_string(), |address| address.to_string()),
            "counted": counted,
        })
    }
}

impl Component for Listener {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn dependencies(&self) -> Dependencies {
        Dependencies::everything()
    }

    async fn start(&self, context: lifecycle::Context) -> Result<()> {
        let Inner { label, service, config, stack, open, .. } = &*self.0;
        let server = if label == MAIN {
            Server::bind(config)?
        } else {
            Server::bind_as(config, &format!("services.{service}.address"))?
        };
        let open = open.get_or_init(|| Open { address: server.local_addr(), stats: server.stats() });
        match open.address {
            Some(address) => tracing::info!(listener = label, %service, %address, "listening"),
            None => tracing::info!(listener = label, %service, address = %config.address, "listening"),
        }
        let (stack, drain) = (stack.clone(), context.drain());
        context.serve(async move {
            server.serve(move |_| stack.clone(), drain).await;
            Ok(())
        });
        Ok(())
    }
}
