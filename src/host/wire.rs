//! Calls within the process over real bytes (`host.in_process = "wire"`): each service has a socket of its own on
//! loopback, served as the main listener is, and is found there.
//!
//! Nothing of the client or the server knows of it: what a remote peer would meet is met here, header serialisation,
//! framing, bounds, retries and cancellation. Only the life of the sockets is that of calls in process: open before the
//! first component starts, closed after the last one has stopped, so that a request in flight can still call others
//! while the process drains.

use std::net::{Ipv4Addr, SocketAddr};

use mainstay_core::{
    Result,
    lifecycle::{self, Component, Dependencies},
    server::{self, Server},
};
use mainstay_discovery::{ServiceName, memory};

use super::admin::to_the_end;
use crate::stack::Standard;

/// The socket of one service.
pub(super) struct Wire {
    name: String,
    service: ServiceName,
    config: server::Config,
    stack: Standard,
    here: memory::Registry,
}

impl Wire {
    /// `config` is that of the main listener; found through `here` once it is open.
    pub(super) fn new(
        service: ServiceName,
        mut config: server::Config,
        stack: Standard,
        here: memory::Registry,
    ) -> Self {
        config.address = server::Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        // Between parts of one process there is nobody to prove anything to.
        config.tls = None;
        Self { name: format!("wire:{service}"), service, config, stack, here }
    }
}

impl Component for Wire {
    fn name(&self) -> &str {
        &self.name
    }

    fn dependencies(&self) -> Dependencies {
        Dependencies::before_everything()
    }

    async fn start(&self, context: lifecycle::Context) -> Result<()> {
        let server = Server::bind_as(&self.config, "host.in_process")?;
        if let Some(address) = server.local_addr() {
            tracing::warn!(
                service = %self.service, %address,
                "host.in_process is `wire`: calls within the process go over this socket, which is for tests"
            );
            self.here.register(&self.service, address.into()).keep();
        }
        let stack = self.stack.clone();
        to_the_end(&context, |drain| server.serve(move |_| stack.clone(), drain));
        Ok(())
    }
}
