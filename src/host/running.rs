//! A host that was started by hand.

use std::{fmt, net::SocketAddr};

use mainstay_client::Client;
use mainstay_core::{
    lifecycle::{self, Shutdown, Stage},
    task::Tasks,
};
use tokio_util::task::AbortOnDropHandle;

use super::{Addresses, HostError, plan::Plan};

/// A host that runs. [`Running::stop`] ends it as SIGTERM would; dropping it ends it without a drain.
///
/// ```
/// use mainstay::{Host, Service, axum::{Router, routing::get}};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hello = Service::new("hello").http(Router::new().route("/hello", get(async || "hello")));
/// let host = Host::new().service(hello).set("server.address=127.0.0.1:0").set("admin.enabled=false");
/// let running = host.set("drain.delay=0s").start().await?;
///
/// assert_ne!(running.address().map(|address| address.port()), Some(0)); // for clients of other processes
/// let answer = running.client().get("http://hello/hello").send().await?.text().await?;
/// assert_eq!(answer, "hello");
/// running.stop().await?;
/// # Ok(()) }
/// ```
pub struct Running {
    addresses: Addresses,
    client: Client,
    shutdown: Shutdown,
    end: Ending,
}

type Ending = AbortOnDropHandle<Result<(), lifecycle::Error>>;

impl Running {
    pub(super) async fn start(plan: Plan) -> Result<Self, HostError> {
        let Plan { client, addresses, lifecycle } = plan;
        let (shutdown, observer) = (lifecycle.shutdown(), lifecycle.observer());
        let run = lifecycle.run_with(futures_util::stream::pending());
        let mut end = Ending::new(Tasks::new().spawn_detached(run));
        // A start that fails goes on to the later stages, so that it is past this one too.
        observer.reached(Stage::Running).await;
        if observer.stage() == Stage::Running {
            return Ok(Self { addresses, client, shutdown, end });
        }
        match joined((&mut end).await) {
            Ok(()) => Err(HostError::Ended),
            Err(error) => Err(error),
        }
    }

    /// Where the main listener listens; `None` on a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.main()
    }

    /// Where the service `name` listens; `None` where it has no TCP listener.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<SocketAddr> {
        self.addresses.of(name)
    }

    /// Where the admin listener listens; `None` where it is disabled.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.addresses.admin()
    }

    /// A client that reaches the services of this host and those that it is configured to find.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Drains and stops, within the bounds of the configuration.
    ///
    /// # Errors
    /// What did not stop as it should.
    ///
    /// # Cancel safety
    /// Dropping it ends the host without a drain.
    pub async fn stop(self) -> Result<(), HostError> {
        self.shutdown.trigger();
        joined(self.end.await)
    }
}

/// How the run ended.
fn joined(ended: Result<Result<(), lifecycle::Error>, tokio::task::JoinError>) -> Result<(), HostError> {
    match ended {
        Ok(result) => Ok(result?),
        Err(_) => Err(HostError::Ended),
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("address", &self.address()).finish_non_exhaustive()
    }
}
