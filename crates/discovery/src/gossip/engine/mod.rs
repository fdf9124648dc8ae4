//! What to say to whom, and what to make of what is heard. Without sockets, clocks or tasks of its own: time, bytes and
//! chance are handed in, so that whole clusters run in a test, step by step.

mod hear;
mod say;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    member::{MAX_BYTES, MAX_SLOTS, Member, State},
    seal::MAX_MESSAGE,
    stats::Stats,
    wire::{NodeId, Registration},
};
use crate::{Endpoint, Health, ServiceName};

/// How many live processes are talked to in each round.
const FANOUT: usize = 3;
/// How many are told directly of something new; the others hear it from them.
const PUSHES: usize = 32;
/// How often that is repeated towards those that did not confirm it, a quarter of an interval apart.
const REPEATS: u32 = 4;
/// How many processes are known at most, those that are gone included.
pub(super) const MAX_MEMBERS: usize = 1024;
/// For how long a process that is gone is remembered, and tried.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// For how long it is told that a process has left.
const TOLD: Duration = Duration::from_secs(60);
/// How long a token is given out; it is accepted for twice as long.
const TOKEN_LIFE: Duration = Duration::from_secs(30);
/// How many strangers are answered in an interval: what anybody recorded can be sent again at will.
const WELCOMES: u32 = 64;
/// How many messages one exchange has at most.
const MAX_HOPS: u8 = 12;
/// For how many intervals a process that hears nobody believes that there may be somebody.
const SETTLE: u32 = 6;
/// For how many rounds a process tells those that it gets to know of itself at once. Later on they are the new ones.
const NEW: u64 = 40;
/// How much of a message may be facts where there is more to say.
const FACTS_SHARE: usize = MAX_MESSAGE * 2 / 3;

/// One process of the cluster.
#[derive(Debug)]
pub(super) struct Engine {
    options: Options,
    own: Own,
    members: HashMap<NodeId, Member>,
    seeds: Vec<Vec<SocketAddr>>,
    tokens: Tokens,
    rng: fastrand::Rng,
    welcomes: u32,
    rounds: u64,
    last_tick: Instant,
    next_tick: Instant,
    next_push: Option<Instant>,
    pushes_left: u32,
    started: Instant,
    /// Since when at least one other process is alive.
    company: Option<Instant>,
    settled: bool,
    /// Another process has told all that it knows.
    informed: bool,
    /// When another process last said that this one is gone.
    renamed: Option<Instant>,
    outgoing: Vec<(SocketAddr, Vec<u8>)>,
    changed: BTreeSet<ServiceName>,
    pub(super) stats: Stats,
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) address: SocketAddr,
    pub(super) interval: Duration,
    pub(super) forget_after: Duration,
    /// Without a key: whoever is not on this host is a stranger.
    pub(super) loopback_only: bool,
    /// There may be others to be found. A seed that is this process itself is one too: others that know it may try it.
    pub(super) has_seeds: bool,
}

/// This process.
#[derive(Debug)]
struct Own {
    id: NodeId,
    beat: u64,
    version: u64,
    /// By number: the version of the last change, and what is registered. A slot that was given up is used again, so
    /// that what is remembered of withdrawals does not grow.
    slots: Vec<(u64, Option<Registration>)>,
    bytes: usize,
    left: bool,
}

/// What others prove by that a message is not an old one.
#[derive(Debug)]
struct Tokens {
    current: u64,
    previous: u64,
    since: Instant,
}

/// A registration can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// A process, as it is shown.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) address: SocketAddr,
    pub(super) state: State,
    pub(super) silence: Duration,
    pub(super) registrations: usize,
}

impl Engine {
    /// `seed` has to be unpredictable and different for each process.
    pub(super) fn new(options: Options, seed: u64, now: Instant) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let own =
            Own { id: NodeId(rng.u64(..)), beat: 0, version: 0, slots: Vec::new(), bytes: 0, left: false };
        let tokens = Tokens { current: rng.u64(1..), previous: 0, since: now };
        let settled = !options.has_seeds;
        Self {
            options,
            own,
            members: HashMap::new(),
            seeds: Vec::new(),
            tokens,
            rng,
            welcomes: WELCOMES,
            rounds: 0,
            last_tick: now,
            next_tick: now,
            next_push: None,
            pushes_left: 0,
            started: now,
            company: None,
            settled,
            informed: false,
            renamed: None,
            outgoing: Vec::new(),
            changed: BTreeSet::new(),
            stats: Stats::default(),
        }
    }

    // What the outside does.

    /// Where the seed number `index` is.
    pub(super) fn set_seed(&mut self, index: usize, addresses: Vec<SocketAddr>) {
        if self.seeds.len() <= index {
            self.seeds.resize_with(index + 1, Vec::new);
        }
        if let Some(seed) = self.seeds.get_mut(index)
            && *seed != addresses
        {
            *seed = addresses;
            // Found while nobody is known: tried at once.
            if self.company.is_none() {
                self.next_tick = self.last_tick;
            }
        }
    }

    /// Registers, and says under which number.
    pub(super) fn register(&mut self, registration: Registration, now: Instant) -> Result<u16, NoRoom> {
        let bytes = registration.encode().len();
        if self.own.bytes + bytes > MAX_BYTES {
            return Err(NoRoom);
        }
        let free = self.own.slots.iter().position(|(_, held)| held.is_none());
        let slot = free.unwrap_or(self.own.slots.len());
        let number = u16::try_from(slot).ok().filter(|number| *number < MAX_SLOTS).ok_or(NoRoom)?;
        self.own.bytes += bytes;
        self.set(slot, Some(registration), now);
        Ok(number)
    }

    /// Gives up what is registered under `slot`.
    pub(super) fn withdraw(&mut self, slot: u16, now: Instant) {
        let slot = usize::from(slot);
        if let Some((_, Some(held))) = self.own.slots.get(slot) {
            self.own.bytes -= held.encode().len();
            self.set(slot, None, now);
        }
    }

    fn set(&mut self, slot: usize, registration: Option<Registration>, now: Instant) {
        self.own.version += 1;
        let new = (self.own.version, registration);
        let old = match self.own.slots.get_mut(slot) {
            Some(held) => std::mem::replace(held, new).1,
            None => {
                self.own.slots.push(new);
                None
            }
        };
        let new = self.own.slots.get(slot).and_then(|(_, held)| held.as_ref());
        self.changed.extend(old.iter().chain(new).map(|registration| registration.service.clone()));
        self.urge(now);
    }

    /// Says goodbye to everybody.
    pub(super) fn leave(&mut self, now: Instant) {
        self.own.left = true;
        // Confirmed anew: what others have confirmed so far was not this.
        self.own.version += 1;
        self.changed
            .extend(self.own.slots.iter().filter_map(|(_, held)| Some(held.as_ref()?.service.clone())));
        self.own.slots.clear();
        self.urge(now);
    }

    fn urge(&mut self, now: Instant) {
        self.next_push = Some(now);
        self.pushes_left = REPEATS;
    }

    /// The version of the newest change of this process.
    pub(super) fn version(&self) -> u64 {
        self.own.version
    }

    /// Whether all that are alive have confirmed the changes up to `version`.
    pub(super) fn is_known_to_all(&self, version: u64) -> bool {
        self.members.values().filter(|member| member.is_alive()).all(|member| member.acked >= version)
    }

    /// Whether anybody has, or nobody else is to be found.
    pub(super) fn is_known(&self, version: u64) -> bool {
        self.is_alone() || self.members.values().any(|member| member.acked >= version)
    }

    /// When [`Engine::step`] is due.
    pub(super) fn due(&self) -> Instant {
        self.next_push.map_or(self.next_tick, |push| push.min(self.next_tick))
    }

    /// Does what is due.
    pub(super) fn step(&mut self, now: Instant) {
        if self.next_push.is_some_and(|due| due <= now) {
            self.push(now);
        }
        if self.next_tick <= now {
            self.tick(now);
        }
    }

    /// What is to be sent.
    pub(super) fn take_outgoing(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.outgoing)
    }

    /// The names whose endpoints may have changed.
    pub(super) fn take_changed(&mut self) -> BTreeSet<ServiceName> {
        std::mem::take(&mut self.changed)
    }

    /// Whether what is known is all there is, as far as that can be told.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether nobody else is to be found.
    pub(super) fn is_alone(&self) -> bool {
        self.settled && self.company.is_none()
    }

    /// Whether another process is alive, and since when.
    pub(super) fn company(&self) -> Option<Instant> {
        self.company
    }

    /// The endpoints of `service`, in an order that all processes share.
    pub(super) fn endpoints(&self, service: &ServiceName) -> Vec<Endpoint> {
        let mut found: Vec<_> = self
            .registrations()
            .filter(|(_, _, _, registration)| registration.service == *service)
            .map(|(id, slot, state, registration)| {
                let endpoint = registration.endpoint.clone();
                let failing = state == State::Failing;
                (id, slot, if failing { endpoint.with_health(Health::Failing) } else { endpoint })
            })
            .collect();
        found.sort_unstable_by_key(|(id, slot, _)| (*id, *slot));
        found.into_iter().map(|(_, _, endpoint)| endpoint).collect()
    }

    /// The names that have endpoints.
    pub(super) fn services(&self) -> BTreeSet<ServiceName> {
        self.registrations().map(|(_, _, _, registration)| registration.service.clone()).collect()
    }

    /// What is listed: by whom, under which number, and how that process is.
    fn registrations(&self) -> impl Iterator<Item = (NodeId, u16, State, &Registration)> {
        let own = self.own.slots.iter().enumerate().filter_map(|(slot, (_, held))| {
            Some((self.own.id, u16::try_from(slot).ok()?, State::Alive, held.as_ref()?))
        });
        let others = self.members.iter().filter(|(_, member)| member.is_listed()).flat_map(|(id, member)| {
            member.registrations().map(|(slot, registration)| (*id, slot, member.state, registration))
        });
        own.chain(others)
    }

    /// The other processes.
    pub(super) fn known(&self, now: Instant) -> Vec<Known> {
        let mut known: Vec<_> = self
            .members
            .values()
            .map(|member| Known {
                address: member.address,
                state: member.state,
                silence: member.silence(now),
                registrations: member.registrations().count(),
            })
            .collect();
        known.sort_unstable_by_key(|known| (known.address, known.silence));
        known
    }

    // What time does.

    fn tick(&mut self, now: Instant) {
        let interval = self.options.interval;
        self.excuse(now);
        self.last_tick = now;
        // Spread out, so that processes that were started together don't talk together.
        let jitter = self.rng.f64() * 0.2 + 0.9;
        self.next_tick = now + interval.mul_f64(jitter);
        self.rounds += 1;
        self.welcomes = WELCOMES;
        if now.saturating_duration_since(self.tokens.since) >= TOKEN_LIFE {
            let current = self.rng.u64(1..);
            self.tokens = Tokens { previous: self.tokens.current, current, since: now };
        }
        self.assess(now);
        for target in self.targets(now) {
            self.send_digest(target, now);
        }
        self.settle(now);
    }

    /// A process that was stopped itself, or starved, has no reason to think that the others are gone: the time that it
    /// missed does not count as their silence.
    fn excuse(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.last_tick);
        if let Some(missed) = late.checked_sub(self.options.interval * 2) {
            for member in self.members.values_mut() {
                member.heard = (member.heard + missed).min(now);
            }
        }
    }

    /// Who is silent for too long, and who is so again no more.
    fn assess(&mut self, now: Instant) {
        let forget_after = self.options.forget_after;
        // While nobody is heard it is more likely that this process is cut off: nothing is forgotten then, nor before
        // the others had the same time again to be heard.
        let company = self.company;
        for member in self.members.values_mut() {
            let silence = member.silence(now);
            let unheard = company.map(|since| silence.min(now.saturating_duration_since(since)));
            let state = match member.state {
                State::Left(_) => continue,
                _ if silence <= member.patience() => State::Alive,
                State::Forgotten => State::Forgotten,
                _ if unheard.is_some_and(|unheard| unheard > forget_after) => State::Forgotten,
                _ => State::Failing,
            };
            if state != member.state {
                self.changed.extend(member.registrations().map(|(_, held)| held.service.clone()));
                tracing::info!(process = %member.address, from = ?member.state, to = ?state, ?silence, "gossip");
                member.state = state;
                if state == State::Forgotten {
                    member.forget();
                }
            }
        }
        self.members.retain(|_, member| match member.state {
            State::Left(since) => now.saturating_duration_since(since) < REMEMBERED,
            State::Forgotten => member.silence(now) < REMEMBERED,
            State::Alive | State::Failing => true,
        });
        let alone = !self.members.values().any(Member::is_alive);
        self.company = if alone { None } else { self.company.or(Some(now)) };
    }

    /// Whom to talk to in this round.
    fn targets(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut alive: Vec<_> = self.members.values().filter(|member| member.is_alive()).collect();
        // `HashMap` has an order of its own in each process; chance has to come from the generator that was given.
        alive.sort_unstable_by_key(|member| member.address);
        self.rng.shuffle(&mut alive);
        // Those that were not heard for longest are asked themselves before they are believed to fail.
        alive.sort_by_key(|member| {
            std::cmp::Reverse(if member.is_suspect(now) { member.silence(now) } else { Duration::ZERO })
        });
        let mut targets: Vec<_> = alive.iter().take(FANOUT).map(|member| member.address).collect();
        // Those that are gone may come back, and so may a side of the network that does not know this one any more.
        let alive: HashSet<_> = alive.iter().map(|member| member.address).collect();
        let mut lost: Vec<_> = self
            .members
            .values()
            .filter(|member| matches!(member.state, State::Failing | State::Forgotten))
            .map(|member| member.address)
            .filter(|address| !alive.contains(address))
            .collect();
        lost.sort_unstable();
        targets.extend(self.rng.choice(lost));
        let mut seeds: Vec<_> = self.seeds.iter().flatten().copied().collect();
        seeds.retain(|address| !alive.contains(address) && *address != self.options.address);
        self.rng.shuffle(&mut seeds);
        seeds.truncate(match self.company {
            None => 8,
            Some(_) if self.rounds.is_multiple_of(4) => 1,
            Some(_) => 0,
        });
        targets.extend(seeds);
        targets
    }

    /// From when on an empty answer means that there is nothing.
    fn settle(&mut self, now: Instant) {
        if self.settled {
            return;
        }
        let complete = self.informed
            && self.members.values().all(|member| !member.is_alive() || member.version >= member.wanted);
        self.settled =
            complete || now.saturating_duration_since(self.started) >= self.options.interval * SETTLE;
    }
}
