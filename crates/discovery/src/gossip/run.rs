//! The socket, the clock and the seeds.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mainstay_core::task::Tasks;
use tokio::{net::UdpSocket, time::Instant};

use super::{
    Config, Gossip, Seed, Shared,
    engine::{Engine, Options},
    seal::{self, Keys, MAX_DATAGRAM, Sealer, Unopened},
};
use crate::registry::{self, Unusable};

/// How often the names of seeds are looked up.
const LOOKED_UP: Duration = Duration::from_secs(30);
/// How often, while nobody is known.
const LOOKED_UP_ALONE: Duration = Duration::from_secs(2);
/// How long a name server may take.
const LOOK_UP: Duration = Duration::from_secs(5);
/// How many addresses of one name are tried.
const MOST_ADDRESSES: usize = 8;
/// How long the goodbye waits for those that don't confirm it.
const GOODBYE: Duration = Duration::from_millis(500);
/// After an error of the socket, so that a lasting one does not take a whole core.
const BREATH: Duration = Duration::from_millis(20);

pub(super) async fn start(config: &Config, tasks: &Tasks) -> Result<Gossip, Unusable> {
    let unusable =
        |what: String, error: io::Error| Unusable { registry: "gossip", what, source: Some(Box::new(error)) };
    let socket = bind(config).await.map_err(|error| {
        unusable(format!("can't receive on {} (discovery.gossip.address)", config.address), error)
    })?;
    let address = advertised(config, &socket).await.map_err(|error| {
        let what = "no address of this host is found; say where the others reach this process \
                    (discovery.gossip.advertise)";
        unusable(what.to_owned(), error)
    })?;
    let no_randomness = |error| Unusable {
        registry: "gossip",
        what: "nothing can be sealed".to_owned(),
        source: Some(Box::new(error)),
    };
    let keys = Keys::new(&config.cluster, config.keys());
    let sealer = keys.sealer().map_err(no_randomness)?;
    let seed = seal::random().map_err(no_randomness)?;
    let options = Options {
        address,
        interval: config.interval.get(),
        forget_after: config.forget_after.get(),
        loopback_only: config.key.is_none(),
        has_seeds: !config.seeds.is_empty(),
    };
    tracing::info!(%address, cluster = config.cluster, keyed = config.key.is_some(), "gossip");
    let gossip = Gossip::new(address, Engine::new(options, seed, Instant::now()));
    for (index, seed) in config.seeds.iter().enumerate() {
        let (shared, seed) = (Arc::downgrade(&gossip.shared), seed.clone());
        let leaving = gossip.shared.leave.clone();
        tasks.spawn_detached(async move {
            let follow = follow(index, &seed, || shared.upgrade());
            leaving.run_until_cancelled(follow).await;
        });
    }
    let stopping = tasks.stopping();
    let running = Running { socket, keys, sealer, shared: gossip.shared.clone() };
    tasks.spawn_detached(async move {
        running.run(stopping).await;
    });
    Ok(gossip)
}

/// The configured port; on a loopback address any, where another process of this host has it.
async fn bind(config: &Config) -> io::Result<UdpSocket> {
    match UdpSocket::bind(config.address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && config.address.ip().is_loopback() => {
            UdpSocket::bind((config.address.ip(), 0)).await
        }
        bound => bound,
    }
}

/// Where the others reach `socket`.
async fn advertised(config: &Config, socket: &UdpSocket) -> io::Result<SocketAddr> {
    if let Some(address) = config.advertise {
        return Ok(address);
    }
    let bound = socket.local_addr()?;
    if !bound.ip().is_unspecified() {
        return Ok(bound);
    }
    let towards = match config.seeds.first() {
        Some(seed) => look_up(seed).await.into_iter().find(|address| address.is_ipv4() == bound.is_ipv4()),
        None => None,
    };
    Ok(SocketAddr::new(registry::own_address(towards, bound.is_ipv4()).await?, bound.port()))
}

/// Keeps the addresses of a seed current for as long as the registry lives.
async fn follow(index: usize, seed: &Seed, shared: impl Fn() -> Option<Arc<Shared>>) {
    let fixed = seed.host().parse::<IpAddr>().is_ok();
    loop {
        let found = look_up(seed).await;
        let Some(shared) = shared() else { return };
        let alone = shared.with(|inner| {
            if !found.is_empty() {
                inner.engine.set_seed(index, found);
            }
            inner.engine.company().is_none()
        });
        shared.wake.notify_one();
        drop(shared);
        if fixed {
            return;
        }
        tokio::time::sleep(if alone { LOOKED_UP_ALONE } else { LOOKED_UP }).await;
    }
}

async fn look_up(seed: &Seed) -> Vec<SocketAddr> {
    match tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((seed.host(), seed.port()))).await {
        Ok(Ok(found)) => found.take(MOST_ADDRESSES).collect(),
        Ok(Err(error)) => {
            tracing::debug!(%seed, %error, "a seed of gossip is not found");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

struct Running {
    socket: UdpSocket,
    keys: Keys,
    sealer: Sealer,
    shared: Arc<Shared>,
}

impl Running {
    async fn run(mut self, stopping: tokio_util::sync::CancellationToken) {
        // However it ends, nobody waits for it any longer.
        let _gone = self.shared.gone.clone().drop_guard();
        let leave = self.shared.leave.clone();
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                () = leave.cancelled() => break,
                () = self.turn() => {}
            }
        }
        let version = self.shared.change(|engine| {
            engine.leave(Instant::now());
            engine.version()
        });
        self.shared.with(|inner| inner.registered.clear());
        let all_know = async {
            while !self.shared.with(|inner| inner.engine.is_known_to_all(version)) {
                self.turn().await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, all_know).await;
    }

    /// Waits for something to do, and does it. Can be dropped: nothing that was received is lost.
    async fn turn(&mut self) {
        // One byte more than the largest, to tell what was longer.
        let mut datagram = [0; MAX_DATAGRAM + 1];
        let due = self.shared.with(|inner| inner.engine.due());
        let received = tokio::select! {
            received = self.socket.recv_from(&mut datagram) => Some(received),
            () = tokio::time::sleep_until(due) => None,
            () = self.shared.wake.notified() => None,
        };
        let message = match received {
            Some(Ok((length, _))) => datagram.get_mut(..length).map(|datagram| self.keys.open(datagram)),
            Some(Err(error)) => {
                tracing::debug!(%error, "gossip can't receive");
                tokio::time::sleep(BREATH).await;
                None
            }
            None => None,
        };
        let outgoing = self.shared.change(|engine| {
            let now = Instant::now();
            engine.stats.received += u64::from(message.is_some());
            match message {
                Some(Ok(message)) => engine.handle(message, now),
                Some(Err(Unopened::Oversized)) => engine.stats.oversized += 1,
                Some(Err(Unopened::Malformed)) => engine.stats.malformed += 1,
                Some(Err(Unopened::Foreign)) => engine.stats.foreign += 1,
                None => {}
            }
            engine.step(now);
            engine.take_outgoing()
        });
        let (mut sent, mut unsent) = (0, 0);
        for (to, message) in outgoing {
            let datagram = self.sealer.seal(&message);
            // What the system does not take at once is as good as lost on the way.
            match datagram.map(|datagram| self.socket.try_send_to(&datagram, to)) {
                Some(Ok(_)) => sent += 1,
                _ => unsent += 1,
            }
        }
        self.shared.with(|inner| {
            inner.engine.stats.sent += sent;
            inner.engine.stats.unsent += unsent;
        });
    }
}
