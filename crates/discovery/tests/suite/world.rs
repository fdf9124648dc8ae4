//! What a registry has to bring to be checked.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay_core::task::Tasks;
use mainstay_discovery::{Endpoint, Lease, Registry, ServiceName, Watch};
use tokio::time::timeout;

#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
use crate::proxy::Proxy;

/// How long anything may take on a machine that has other things to do. Waiting ends as soon as what is waited for is
/// there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a registry can tell of an endpoint, and how much; what it can't is declared here, once, and nowhere skipped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promises {
    /// The protocol and TLS of each endpoint, in any combination.
    pub(crate) scheme: bool,
    pub(crate) weight: bool,
    pub(crate) zone: bool,
    pub(crate) health: bool,
    pub(crate) metadata: bool,
    /// Endpoints of one name.
    pub(crate) most: usize,
    /// Names that nobody has asked for are known too.
    pub(crate) all_names: bool,
    /// A server that falls silent without closing a connection is noticed within some times to live.
    pub(crate) notices_silence: bool,
}

impl Promises {
    pub(crate) const ALL: Self = Self {
        scheme: true,
        weight: true,
        zone: true,
        health: true,
        metadata: true,
        most: usize::MAX,
        all_names: true,
        notices_silence: true,
    };

    /// What is left of `said` in this registry.
    pub(crate) fn kept(self, said: &Endpoint) -> Endpoint {
        let mut kept = Endpoint::new(said.address().clone());
        if self.scheme {
            kept = kept.with_protocol(said.protocol()).with_tls(said.is_tls());
        }
        if self.weight {
            kept = kept.with_weight(said.weight());
        }
        if let Some(zone) = said.zone().filter(|_| self.zone) {
            kept = kept.with_zone(zone);
        }
        if self.health {
            kept = kept.with_health(said.health());
        }
        for (key, value) in said.all_metadata().filter(|_| self.metadata) {
            kept = kept.with_metadata(key, value);
        }
        kept
    }
}

/// A registry, and processes that use it.
pub(crate) trait World {
    const PROMISES: Promises = Promises::ALL;

    /// How long an entry is kept that is not renewed; where nothing is renewed, how long the suite looks whether
    /// something goes.
    fn ttl(&self) -> Duration;

    /// A process of its own that uses the registry.
    fn process(&self) -> impl Future<Output = Process>;

    /// One whose registrations live so long that none of them is renewed during a test.
    fn calm_process(&self) -> impl Future<Output = Process> {
        self.process()
    }

    /// What stands in a registry that others write; `None` where processes register.
    fn book(&self) -> Option<&Book> {
        None
    }

    /// Makes what stands in the book what the registry says.
    fn publish(&self) -> impl Future<Output = ()> {
        async { unreachable!("processes register") }
    }

    /// Puts endpoints in: registers them from `by`, or writes them.
    async fn list(&self, by: &Process, service: &str, endpoints: Vec<Endpoint>) -> Vec<Listed> {
        let Some(book) = self.book() else {
            let register = |endpoint| Listed::Lease(by.registry.register(&name(service), endpoint).unwrap());
            return endpoints.into_iter().map(register).collect();
        };
        let listed = endpoints.into_iter().map(|endpoint| book.add(name(service), endpoint)).collect();
        self.publish().await;
        listed
    }

    async fn list_one(&self, by: &Process, service: &str, endpoint: Endpoint) -> Listed {
        self.list(by, service, vec![endpoint]).await.remove(0)
    }

    /// Takes them out.
    async fn unlist(&self, listed: impl IntoIterator<Item = Listed>) {
        for listed in listed {
            match listed {
                Listed::Lease(lease) => within("withdrawing", lease.withdraw()).await,
                Listed::Line(number) => self.book().unwrap().remove(number),
            }
        }
        if self.book().is_some() {
            self.publish().await;
        }
    }
}

/// What was put in.
pub(crate) enum Listed {
    Lease(Lease),
    /// Of the book.
    Line(u64),
}

/// What others write into a registry.
#[derive(Default)]
pub(crate) struct Book(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    last: u64,
    by_number: BTreeMap<u64, (ServiceName, Endpoint)>,
}

impl Book {
    pub(crate) fn add(&self, service: ServiceName, endpoint: Endpoint) -> Listed {
        let mut lines = self.0.lock().unwrap();
        lines.last += 1;
        let number = lines.last;
        lines.by_number.insert(number, (service, endpoint));
        Listed::Line(number)
    }

    fn remove(&self, number: u64) {
        self.0.lock().unwrap().by_number.remove(&number);
    }

    /// The last of several for one place holds.
    pub(crate) fn services(&self) -> BTreeMap<ServiceName, Vec<Endpoint>> {
        let mut services: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (service, endpoint) in self.0.lock().unwrap().by_number.values() {
            let places = services.entry(service.clone()).or_default();
            places.insert(endpoint.place().clone(), endpoint.clone());
        }
        services.into_iter().map(|(name, places)| (name, places.into_values().collect())).collect()
    }
}

/// A world with something in the middle that can be away.
pub(crate) trait Outage: World {
    /// Stops it, without a word.
    fn stop(&self) -> impl Future<Output = ()>;

    /// Starts it again where it was.
    fn start(&self) -> impl Future<Output = ()>;

    /// It stays, and does nothing (SIGSTOP).
    fn pause(&self);

    /// It goes on.
    fn resume(&self);
}

/// A world with a server that keeps registrations.
#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
pub(crate) trait Served: Outage {
    /// Takes away all that it had; it is stopped.
    fn wipe(&self);

    /// Others write as entries of `service` what nobody should believe, and one at `z` of a newer version of us.
    fn disturb(&self, service: &str) -> impl Future<Output = ()>;
}

/// What stands for a process: a registry of its own, and its own wire to the server.
pub(crate) struct Process {
    pub(crate) registry: Arc<dyn Registry>,
    #[cfg_attr(
        not(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis")),
        expect(dead_code, reason = "kept with the registry")
    )]
    pub(crate) tasks: Tasks,
    #[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
    wire: Option<Proxy>,
}

impl Process {
    pub(crate) fn new(registry: Arc<dyn Registry>, tasks: Tasks) -> Self {
        Self {
            registry,
            tasks,
            #[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
            wire: None,
        }
    }
}

#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
impl Process {
    /// As configured, over this wire.
    pub(crate) async fn connected(config: &mainstay_discovery::Config, wire: Proxy) -> Self {
        let tasks = Tasks::new();
        let registry = config.connect(&tasks).await.unwrap().unwrap();
        Self { registry, tasks, wire: Some(wire) }
    }

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

/// Addresses, since not every registry has names.
pub(crate) const A: &str = "10.0.0.1";
pub(crate) const B: &str = "10.0.0.2";
pub(crate) const C: &str = "10.0.0.3";

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

/// Waits until the status says whether the registry answers.
pub(crate) async fn until_connected(process: &Process, is_connected: bool) {
    let wait = async {
        while process.registry.status().is_connected != is_connected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let what = format!("connected: {is_connected}, by the status {:?},", process.registry.status());
    within(&what, wait).await;
}

/// Waits until something has gone wrong for a process, and returns what.
#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
pub(crate) async fn until_told(process: &Process, part: &str) -> String {
    let wait = async {
        loop {
            match process.registry.status().last_error {
                Some(error) if error.message.contains(part) => return error.message,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    match timeout(PATIENCE, wait).await {
        Ok(told) => told,
        Err(_) => panic!("`{part}` is not in {:?}", process.registry.status()),
    }
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
