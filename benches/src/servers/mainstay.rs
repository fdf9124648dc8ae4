//! Mainstay's server with the router alone, and a host with the standard stack.

use mainstay::{
    Host, Service,
    lifecycle::{Drain, Phase},
    server::{self, Server, Shape},
};

use super::{Result, routes};
use crate::{announce, until_told};

/// The router, without any middleware.
pub(super) async fn server(shape: Shape) -> Result {
    let mut config = server::Config::default();
    config.address = "127.0.0.1:0".parse()?;
    config.shape = shape;
    let server = Server::bind(&config)?;
    announce(server.local_addr().ok_or("no address")?)?;
    let (drainer, drain) = Drain::channel();
    let serving = server.serve(|_| routes(), drain);
    let told = async {
        until_told().await;
        drainer.advance(Phase::Closing);
    };
    tokio::join!(serving, told);
    Ok(())
}

/// The router as a service of a host.
pub(super) async fn stack(shape: &str) -> Result {
    serve(host(Service::new("items").http(routes())).set(format!("server.shape={shape}"))).await
}

/// A host of this service on a free port, that logs only what goes wrong.
#[must_use]
pub fn host(service: Service) -> Host {
    Host::new()
        .service(service)
        .set("server.address=127.0.0.1:0")
        .set("admin.address=127.0.0.1:0")
        .set("drain.delay=0s")
        .set("auth.required=false")
        .set("log.filter=warn")
        .set("log.output=stderr")
}

/// Runs the host until standard input ends.
///
/// # Errors
/// When it can't start or stop.
pub async fn serve(host: Host) -> Result {
    let running = host.start().await?;
    announce(running.address().ok_or("no address")?)?;
    until_told().await;
    Ok(running.stop().await?)
}
