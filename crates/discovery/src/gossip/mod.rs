//! A registry without a server: the processes of a cluster tell each other what they have registered.
//!
//! ```toml
//! [discovery]
//! registry = "gossip"
//!
//! [discovery.gossip]
//! address = "0.0.0.0:7649"
//! seeds = ["a.internal", "b.internal"]
//! # MAINSTAY_DISCOVERY__GOSSIP__KEY_FILE=/run/secrets/gossip
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `config` | the settings |
//! | `seal` | datagrams that only holders of a key can read or make |
//! | `wire` | messages as bytes |
//! | `member` | what is known of another process, and whether it is alive |
//! | `engine` | what to say to whom, and what to make of what is heard: a state machine without sockets |
//! | `run` | the socket, the clock and the seeds |
//!
//! What it promises:
//!
//! - Each process speaks for its own registrations alone. There are no conflicts to resolve: the higher version of the
//!   same process is the newer one. All processes that can talk to each other agree soon, whatever was lost on the way.
//! - A change is pushed at once to up to 32 processes, which hand it on. With the first message lost it takes part of an
//!   interval, else a round trip.
//! - A process that leaves says so, first of all. One that crashes is noticed after twelve intervals of silence (three
//!   seconds by default), four times as long at most where the network is irregular. Its endpoints are then listed as
//!   failing, and not at all after `forget_after`. Time that a process missed itself (stopped, starved) does not count.
//! - A process that hears nobody forgets nothing: what it knows stays listed, as failing.
//! - After a partition both sides find each other again, by the addresses that they remember for an hour, and by the
//!   seeds for ever.
//! - Wall clocks are not used.
//!
//! When not to use it: for more than some hundreds of processes; across networks that let no UDP through, or translate
//! addresses; where all holders of the key can't be trusted to tell the truth.

mod config;
mod engine;
mod member;
mod run;
mod seal;
mod stats;
mod wire;

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mainstay_core::task::Tasks;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::{Config, InvalidSeed, PORT, Seed};
pub use stats::Stats;

use crate::{
    Address, Endpoint, Lease, Register, Resolve, ServiceName, Unregistrable, Watch,
    registry::{self, Followed, Process, Registered, Status, Unusable},
    watch::Publisher,
};
use engine::Engine;
use member::State;
use wire::{MAX_REGISTRATION, Registration};

/// How long a withdrawal waits for those that don't confirm it.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);

/// This process's part of the registry. Cloning is cheap and shares it; when the last clone is dropped it says goodbye.
#[derive(Clone)]
pub struct Gossip {
    shared: Arc<Shared>,
    _leave: Arc<DropGuard>,
}

/// What the handles and the running task share.
struct Shared {
    address: SocketAddr,
    state: Mutex<Inner>,
    /// Something is to be sent.
    wake: tokio::sync::Notify,
    /// Marked when others may have confirmed something.
    confirmed: watch::Sender<()>,
    /// Says goodbye and ends.
    leave: CancellationToken,
    gone: CancellationToken,
}

struct Inner {
    engine: Engine,
    /// The names that somebody follows.
    followed: HashMap<ServiceName, Publisher>,
    registered: HashMap<u16, Own>,
    published_settled: bool,
}

struct Own {
    service: ServiceName,
    place: String,
    /// The version that its registration has.
    version: u64,
    established: watch::Sender<bool>,
}

impl Gossip {
    /// Opens the socket and begins to talk. The work belongs to `tasks`: when these are told to stop, it says goodbye.
    ///
    /// Does not wait for the others.
    ///
    /// # Errors
    /// [`Unusable`] when the socket can't be opened, or when it can't be told where others reach this process.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn start(config: &Config, tasks: &Tasks) -> Result<Self, Unusable> {
        run::start(config, tasks).await
    }

    /// Where the others reach this process.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.with(|inner| inner.engine.stats)
    }

    /// Withdraws everything, tells the others, and ends. Takes about a round trip; a second at most.
    ///
    /// # Cancel safety
    /// Dropping it does not keep it from ending.
    pub async fn leave(&self) {
        self.shared.leave.cancel();
        self.shared.gone.cancelled().await;
    }

    fn new(address: SocketAddr, engine: Engine) -> Self {
        let leave = CancellationToken::new();
        let published_settled = engine.is_settled();
        let (followed, registered) = (HashMap::new(), HashMap::new());
        let state = Inner { engine, followed, registered, published_settled };
        let shared = Shared {
            address,
            state: Mutex::new(state),
            wake: tokio::sync::Notify::new(),
            confirmed: watch::Sender::new(()),
            leave: leave.clone(),
            gone: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared), _leave: Arc::new(leave.drop_guard()) }
    }
}

impl Shared {
    fn with<R>(&self, use_it: impl FnOnce(&mut Inner) -> R) -> R {
        // Each change is whole, and code of others does not run under the lock: a poisoned one is as good as any.
        use_it(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something with the engine, and lets everybody see what it changed.
    fn change<R>(&self, change: impl FnOnce(&mut Engine) -> R) -> R {
        let done = self.with(|inner| {
            let done = change(&mut inner.engine);
            inner.publish();
            done
        });
        self.confirmed.send_replace(());
        done
    }

    fn register(
        self: &Arc<Self>,
        service: &ServiceName,
        endpoint: &Endpoint,
    ) -> Result<Lease, Unregistrable> {
        let refuse = |reason| Err(Unregistrable::new(service, endpoint, "gossip", reason));
        match endpoint.address() {
            Address::InProcess => return refuse("other processes can't reach it"),
            Address::Unix(path) if path.to_str().is_none() => return refuse("the path is not UTF-8"),
            Address::Unix(_) if !self.address.ip().is_loopback() => {
                return refuse("a Unix socket is reached on this host only, and gossip goes to others");
            }
            Address::Tcp(host, _) => {
                let ip = host.parse::<std::net::IpAddr>().ok();
                if ip.is_some_and(|ip| ip.is_unspecified()) {
                    return refuse("nobody can connect to the wildcard address");
                }
                if ip.is_some_and(|ip| ip.is_loopback()) && !self.address.ip().is_loopback() {
                    return refuse(
                        "a loopback address is reached on this host only, and gossip goes to others",
                    );
                }
            }
            Address::Unix(_) => {}
        }
        let registration = Registration { service: service.clone(), endpoint: endpoint.clone() };
        if registration.encode().len() > MAX_REGISTRATION {
            return refuse("with its metadata it takes more than 1000 bytes");
        }
        let established = watch::Sender::new(false);
        let listed = established.subscribe();
        let slot = self.with(|inner| {
            let slot = inner.engine.register(registration, Instant::now()).ok()?;
            let own = Own {
                service: service.clone(),
                place: endpoint.place().to_string(),
                version: inner.engine.version(),
                established,
            };
            inner.registered.insert(slot, own);
            inner.publish();
            Some(slot)
        });
        let Some(slot) = slot else {
            return refuse("this process has registered as much as one can: 256 endpoints, 16 KiB");
        };
        self.wake.notify_one();
        let shared = self.clone();
        Ok(Lease::new(move || shared.withdraw(slot)).established_when(listed))
    }

    /// Withdraws at once; the future waits until the living have confirmed it.
    fn withdraw(self: Arc<Self>, slot: u16) -> impl Future<Output = ()> + Send + 'static {
        let version = self.with(|inner| {
            inner.registered.remove(&slot);
            inner.engine.withdraw(slot, Instant::now());
            inner.publish();
            inner.engine.version()
        });
        self.wake.notify_one();
        async move {
            let mut confirmed = self.confirmed.subscribe();
            let known = async {
                while !self.with(|inner| inner.engine.is_known_to_all(version)) {
                    // The sender lives in `self`.
                    let _ = confirmed.changed().await;
                }
            };
            let wait = tokio::time::timeout(CONFIRMED_WITHIN, known);
            // Whoever has not heard it by then hears it in the next rounds.
            let _ = self.gone.run_until_cancelled(wait).await;
        }
    }
}

impl Inner {
    /// Lets watches see what has changed, and registrations that they are known.
    fn publish(&mut self) {
        let settled = self.engine.is_settled();
        let mut changed = self.engine.take_changed();
        if settled && !self.published_settled {
            self.published_settled = true;
            changed.extend(self.followed.keys().cloned());
        }
        for service in changed {
            if let Some(publisher) = self.followed.get(&service) {
                let endpoints = self.engine.endpoints(&service);
                // Before all is known, nothing is no news.
                if (settled || !endpoints.is_empty()) && *publisher.watch().snapshot() != endpoints[..]
                    || settled && !publisher.watch().is_settled()
                {
                    publisher.publish(endpoints);
                }
            }
        }
        for own in self.registered.values() {
            if !*own.established.borrow() && self.engine.is_known(own.version) {
                own.established.send_replace(true);
            }
        }
    }

    fn resolve(&mut self, service: &ServiceName) -> Watch {
        if let Some(publisher) = self.followed.get(service) {
            return publisher.watch();
        }
        // Names come from callers: one that nobody follows any more is not worth the room.
        self.followed.retain(|_, publisher| publisher.is_watched());
        let publisher = Publisher::new();
        let endpoints = self.engine.endpoints(service);
        if self.published_settled || !endpoints.is_empty() {
            publisher.publish(endpoints);
        }
        let watch = publisher.watch();
        self.followed.insert(service.clone(), publisher);
        watch
    }

    fn status(&self, now: Instant) -> Status {
        let company = self.engine.company();
        let mut status = Status { registry: "gossip", ..Status::default() };
        status.is_connected = company.is_some() || self.engine.is_alone();
        status.for_seconds = company.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
        status.followed = self
            .followed
            .iter()
            .map(|(service, publisher)| {
                let endpoints = publisher.watch().snapshot();
                let failing = endpoints.iter().filter(|endpoint| endpoint.health() == crate::Health::Failing);
                Followed {
                    service: service.clone(),
                    endpoints: endpoints.len(),
                    unconfirmed: failing.count(),
                    is_current: status.is_connected && self.published_settled,
                }
            })
            .collect();
        status.registered = self
            .registered
            .values()
            .map(|own| Registered {
                service: own.service.clone(),
                place: own.place.clone(),
                is_established: *own.established.borrow(),
            })
            .collect();
        status.followed.sort_by(|one, other| one.service.cmp(&other.service));
        status
            .registered
            .sort_by(|one, other| (&one.service, &one.place).cmp(&(&other.service, &other.place)));
        status.processes = self
            .engine
            .known(now)
            .into_iter()
            .map(|known| Process {
                address: known.address.to_string(),
                state: match known.state {
                    State::Alive => "alive",
                    State::Failing => "failing",
                    State::Forgotten => "forgotten",
                    State::Left(_) => "left",
                },
                silent_seconds: known.silence.as_secs_f64(),
                registrations: known.registrations,
            })
            .collect();
        status.counted = self.engine.stats.to_map();
        status
    }
}

impl Register for Gossip {
    fn register(&self, service: &ServiceName, endpoint: Endpoint) -> Result<Lease, Unregistrable> {
        self.shared.register(service, &endpoint)
    }
}

impl Resolve for Gossip {
    fn resolve(&self, service: &ServiceName) -> Watch {
        self.shared.with(|inner| inner.resolve(service))
    }

    fn known(&self) -> Vec<ServiceName> {
        self.shared.with(|inner| inner.engine.services().into_iter().collect())
    }
}

impl registry::Registry for Gossip {
    fn status(&self) -> Status {
        self.shared.with(|inner| inner.status(Instant::now()))
    }

    fn own_address(&self) -> Option<std::net::IpAddr> {
        Some(self.shared.address.ip())
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip").field("address", &self.shared.address).finish_non_exhaustive()
    }
}
