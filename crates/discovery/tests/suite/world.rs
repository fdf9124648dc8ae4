//! What a registry has to bring to be checked.

use std::{future::Future, sync::Arc, time::Duration};

use mainstay_core::task::Tasks;
use mainstay_discovery::{Endpoint, Registry, ServiceName, Watch};
use tokio::time::timeout;

use crate::proxy::Proxy;

/// How long anything may take on a machine that has other things to do. Waiting ends as soon as what is waited for is
/// there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A registry, and processes that use it.
pub(crate) trait World {
    /// How long an entry is kept that is not renewed.
    fn ttl(&self) -> Duration;

    /// A process of its own that uses the registry.
    fn process(&self) -> impl Future<Output = Process>;

    /// One whose registrations live so long that none of them is renewed during a test.
    fn calm_process(&self) -> impl Future<Output = Process>;
}

/// A world with a server in the middle.
pub(crate) trait Served: World {
    /// Stops the server, without a word.
    fn stop(&self) -> impl Future<Output = ()>;

    /// Starts it again where it was.
    fn start(&self) -> impl Future<Output = ()>;

    /// Takes away all that it had; it is stopped.
    fn wipe(&self);

    /// It stays, and does nothing (SIGSTOP).
    fn pause(&self);

    /// It goes on.
    fn resume(&self);

    /// Somebody else writes `value` as an entry of `service`.
    fn write(&self, service: &str, id: &str, value: &[u8]) -> impl Future<Output = ()>;
}

/// What stands for a process: a registry of its own, and its own wire to the server.
pub(crate) struct Process {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) tasks: Tasks,
    pub(crate) wire: Option<Proxy>,
}

impl Process {
    pub(crate) fn wire(&self) -> &Proxy {
        self.wire.as_ref().expect("this world has wires")
    }

    /// Gone without a word.
    pub(crate) fn crash(self) {
        self.wire().kill();
    }
}

pub(crate) fn name(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

pub(crate) fn endpoint(host: &str) -> Endpoint {
    Endpoint::tcp(host, 80)
}

/// Where a watch says the service is, in order.
pub(crate) fn hosts(watch: &Watch) -> Vec<String> {
    let mut hosts: Vec<_> = watch
        .snapshot()
        .iter()
        .map(|endpoint| endpoint.address().to_string().trim_end_matches(":80").to_owned())
        .collect();
    hosts.sort();
    hosts
}

/// Waits until a watch says what is expected.
pub(crate) async fn until(watch: &Watch, what: &str, is_so: impl Fn(&Watch) -> bool) {
    let wait = async {
        let mut seen = watch.version();
        while !is_so(watch) {
            seen = watch.changed_since(seen).await;
        }
    };
    if timeout(PATIENCE, wait).await.is_err() {
        panic!("{what} was not seen; the watch has {:?}", hosts(watch));
    }
}

pub(crate) async fn until_hosts(watch: &Watch, expected: &[&str]) {
    until(watch, &format!("{expected:?}"), |watch| hosts(watch) == expected).await;
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Looks at a watch all the time, for the time in which nothing may be missing from it.
pub(crate) struct Vigil(tokio::task::JoinHandle<()>);

impl Vigil {
    pub(crate) fn over(watch: &Watch, always: &'static [&'static str]) -> Self {
        let watch = watch.clone();
        Self(tokio::spawn(async move {
            let mut seen = watch.version();
            loop {
                let hosts = hosts(&watch);
                for host in always {
                    assert!(hosts.iter().any(|known| known == host), "{host} is missing from {hosts:?}");
                }
                seen = watch.changed_since(seen).await;
            }
        }))
    }

    /// Nothing was missing until now.
    pub(crate) async fn end(self) {
        self.0.abort();
        if let Err(ended) = self.0.await
            && ended.is_panic()
        {
            std::panic::resume_unwind(ended.into_panic());
        }
    }
}
