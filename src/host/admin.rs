//! The admin listener, as a component: open before everything else, closed after it, so that probes answer throughout.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::Router;
use mainstay_core::{
    Result,
    lifecycle::{self, Component, Dependencies, Drain, Phase},
    server::{self, Server},
};

/// The admin listener. Clones are the same one.
#[derive(Clone)]
pub(super) struct Admin(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    routes: Router,
    bound: OnceLock<SocketAddr>,
}

impl Admin {
    pub(super) fn new(address: SocketAddr, routes: Router) -> Self {
        Self(Arc::new(Inner { address, routes: routes.with_state(()), bound: OnceLock::new() }))
    }

    /// Where it listens, once it is open.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.bound.get().copied()
    }
}

impl Component for Admin {
    fn name(&self) -> &str {
        "admin"
    }

    fn dependencies(&self) -> Dependencies {
        Dependencies::before_everything()
    }

    async fn start(&self, context: lifecycle::Context) -> Result<()> {
        let Inner { address, routes, bound } = &*self.0;
        let mut config = server::Config::default();
        config.address = server::Address::Tcp(*address);
        let server = Server::bind_as(&config, "admin.address")?;
        if let Some(address) = server.local_addr() {
            let address = bound.get_or_init(|| address);
            tracing::info!(listener = "admin", %address, "listening");
        }
        let routes = routes.clone();
        to_the_end(&context, |drain| server.serve(move |_| routes.clone(), drain));
        Ok(())
    }
}

/// Serves until everything else has stopped, and not by the drain of the process.
pub(super) fn to_the_end<F>(context: &lifecycle::Context, serve: impl FnOnce(Drain) -> F)
where
    F: Future<Output = server::Summary> + Send + 'static,
{
    let (drainer, drain) = Drain::channel();
    let (serving, stopping) = (serve(drain), context.tasks().stopping());
    context.keep(async move {
        let stop = async move {
            stopping.cancelled().await;
            drainer.advance(Phase::Cut);
        };
        tokio::join!(serving, stop);
        Ok(())
    });
}
