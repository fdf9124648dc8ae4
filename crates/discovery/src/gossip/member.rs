//! What a process knows of another one.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::time::Instant;

use super::wire::{Entry, Fact, Registration};

/// How many registrations a process can have at a time.
pub(super) const MAX_SLOTS: u16 = 256;
/// What they may take together, as bytes.
pub(super) const MAX_BYTES: usize = 16 * 1024;

/// A process counts as failing after this many times the mean time between its signs of life. For a phi-accrual
/// detector with exponential arrivals, phi = t / (mean · ln 10), that is phi = 5.2.
const SILENCE: u32 = 12;
/// The mean is kept between one interval and this many: detection stays bounded, however irregular the network.
const SLOWEST: u32 = 4;

/// Another process, as far as is known here.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) address: SocketAddr,
    /// The highest beat that was heard of, from whomever.
    pub(super) beat: u64,
    /// The highest beat in its own messages: one that is not higher is a replay.
    pub(super) direct: u64,
    /// What it accepts messages by; 0 before it said so.
    pub(super) token: u64,
    /// Of its newest fact here.
    pub(super) version: u64,
    /// Of its newest fact that was heard of.
    pub(super) wanted: u64,
    /// Of the newest fact of this process that it has confirmed.
    pub(super) acked: u64,
    pub(super) state: State,
    /// When its beat last grew, as far as is known here.
    pub(super) heard: Instant,
    mean: Duration,
    facts: BTreeMap<u16, Held>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    version: u64,
    bytes: usize,
    registration: Option<Registration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its endpoints are listed as it registered them.
    Alive,
    /// Silent: its endpoints are listed as failing.
    Failing,
    /// Silent for so long that its endpoints are not listed. Kept, so that it is found again after a partition.
    Forgotten,
    /// It has said goodbye, or another process has taken its address: since then. Final.
    Left(Instant),
}

/// What a delta changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    Nothing,
    Changed,
    /// It would take more room than one process gets.
    Refused,
}

impl Member {
    pub(super) fn new(entry: &Entry, heard: Instant, interval: Duration) -> Self {
        Self {
            address: entry.address,
            beat: entry.beat,
            direct: 0,
            token: 0,
            version: 0,
            wanted: entry.version,
            acked: 0,
            state: State::Alive,
            heard,
            mean: interval,
            facts: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Its beat grew, `at` that time.
    pub(super) fn beat(&mut self, beat: u64, at: Instant, interval: Duration) {
        self.beat = beat;
        if let Some(since) = at.checked_duration_since(self.heard)
            && !since.is_zero()
        {
            // A silence that was long enough to count as failing says nothing about the usual rhythm.
            if self.state == State::Alive {
                self.mean = (self.mean * 7 + since).div_f64(8.0).clamp(interval, interval * SLOWEST);
            }
            self.heard = at;
        }
    }

    /// For how long nothing was heard of it.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    /// The silence after which it counts as failing.
    pub(super) fn patience(&self) -> Duration {
        self.mean * SILENCE
    }

    /// Whether it is worth asking it directly: long silent for what it usually does, and not failing yet.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        self.state == State::Alive && self.silence(now) > self.mean * 4
    }

    pub(super) fn is_alive(&self) -> bool {
        self.state == State::Alive
    }

    pub(super) fn has_left(&self) -> bool {
        matches!(self.state, State::Left(_))
    }

    /// Whether its endpoints are listed.
    pub(super) fn is_listed(&self) -> bool {
        matches!(self.state, State::Alive | State::Failing)
    }

    /// Takes over a fact that is newer than all that are held.
    pub(super) fn apply(&mut self, fact: Fact) -> Applied {
        let Fact { slot, version, registration } = fact;
        if version <= self.version {
            return Applied::Nothing;
        }
        let bytes = registration.as_ref().map_or(0, |registration| registration.encode().len());
        let freed = self.facts.get(&slot).map_or(0, |held| held.bytes);
        let total = self.bytes - freed + bytes;
        if slot >= MAX_SLOTS || total > MAX_BYTES {
            return Applied::Refused;
        }
        self.bytes = total;
        self.version = version;
        self.facts.insert(slot, Held { version, bytes, registration });
        Applied::Changed
    }

    /// Its registrations, by slot.
    pub(super) fn registrations(&self) -> impl Iterator<Item = (u16, &Registration)> {
        self.facts.iter().filter_map(|(slot, held)| Some((*slot, held.registration.as_ref()?)))
    }

    /// What changed after the version `since`, oldest first.
    pub(super) fn facts_since(&self, since: u64) -> impl Iterator<Item = (u16, u64, Option<&Registration>)> {
        let mut newer: Vec<_> = self
            .facts
            .iter()
            .filter(|(_, held)| held.version > since)
            .map(|(slot, held)| (*slot, held.version, held.registration.as_ref()))
            .collect();
        newer.sort_unstable_by_key(|(_, version, _)| *version);
        newer.into_iter()
    }

    /// It is gone for good, and so is what it had registered.
    pub(super) fn leave(&mut self, at: Instant) {
        self.state = State::Left(at);
        self.forget();
    }

    /// What it had registered is not worth the room any more. Comes back whole when it is heard again.
    pub(super) fn forget(&mut self) {
        self.facts.clear();
        self.bytes = 0;
        self.version = 0;
    }
}
