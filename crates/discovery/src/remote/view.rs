//! The endpoints of one name, as the registry tells them, through interruptions.
//!
//! What the registry says while it is being followed holds at once. What is *missing* when it is back after an
//! interruption may be missing because nobody could renew it, or because the registry was wiped: then it is kept for
//! one time to live, in which its registrant restores it or does not. The same holds for what runs out in that time. A
//! withdrawal always holds at once.
//!
//! What runs out while the registry is followed counts as failing for one more time to live; and for as long as nothing
//! else is listed. A registry that takes no writes, or that all registrants are cut off from, lets everything run out
//! that is there and works.

use std::{
    collections::{BTreeMap, HashMap, HashSet, btree_map},
    time::Duration,
};

use tokio::time::Instant;

use super::record::Listed;
use crate::{Endpoint, Health, Place};

/// The most entries of one name; what goes beyond is ignored.
const MOST: usize = 32_768;

/// The longest id of an entry, in bytes.
const LONGEST_ID: usize = 512;

/// Where in its history a registry is. A registry that was wiped or rolled back has another history, or is at an
/// earlier position of the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) id: u64,
    pub(crate) position: u64,
}

#[derive(Debug)]
pub(super) struct View {
    ttl: Duration,
    entries: HashMap<String, Entry>,
    history: Option<History>,
    /// After an interruption in which entries can have run out: until when what runs out is kept.
    grace: Option<Instant>,
    /// The ids whose values can't be read.
    malformed: HashSet<String>,
    /// Malformed or too many entries were logged.
    complained: bool,
    /// Whether [`View::endpoints`] may be other than when [`View::take_changed`] was last called.
    changed: bool,
}

#[derive(Debug)]
struct Entry {
    listed: Listed,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The registry lists it.
    Listed,
    /// From the time before this process: until the registry answers.
    Remembered,
    /// The registry came back without it.
    Missing { until: Instant },
    /// It was not renewed in time.
    RanOut { until: Instant },
}

impl Standing {
    /// When it goes.
    fn until(self) -> Option<Instant> {
        match self {
            Self::Missing { until } | Self::RanOut { until } => Some(until),
            Self::Listed | Self::Remembered => None,
        }
    }

    fn ran_out(self) -> bool {
        matches!(self, Self::RanOut { .. })
    }
}

/// What is to be said of a value that can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Complaint(pub(super) &'static str);

impl View {
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            entries: HashMap::new(),
            history: None,
            grace: None,
            malformed: HashSet::new(),
            complained: false,
            changed: false,
        }
    }

    /// With an entry from before this process.
    pub(super) fn remember(&mut self, id: String, listed: Listed) {
        self.entries.insert(id, Entry { listed, standing: Standing::Remembered });
        self.changed = true;
    }

    /// The registry lists `listing`, and nothing else, after it was out of sight for `gap` (`None`: it was never seen).
    pub(super) fn list(
        &mut self,
        now: Instant,
        gap: Option<Duration>,
        history: History,
        listing: &[(String, Vec<u8>)],
    ) -> Option<Complaint> {
        self.malformed.clear();
        let known: HashSet<&str> = listing.iter().map(|(id, _)| id.as_str()).collect();
        let mut complaint = None;
        let mut readable = false;
        for (id, value) in listing {
            match self.read(id, value) {
                Ok(listed) => {
                    readable = true;
                    self.insert(id, listed);
                }
                Err(reason) => complaint = complaint.or(reason),
            }
        }
        let forgot =
            self.history.is_some_and(|seen| seen.id != history.id || history.position < seen.position);
        // Registrants renew at a third of the time to live: within half of it none of theirs can have run out.
        let aged = gap.is_some_and(|gap| gap >= self.ttl / 2);
        let until = now + self.ttl;
        if forgot || aged {
            self.grace = Some(until);
        }
        self.history = Some(history);
        let before = self.entries.len();
        self.entries.retain(|id, entry| {
            if known.contains(id.as_str()) {
                // Listed; or its value turned to garbage, which takes nothing from what it was.
                entry.standing = Standing::Listed;
                return true;
            }
            match entry.standing {
                Standing::RanOut { .. } => true,
                Standing::Listed if forgot || aged || !readable => {
                    entry.standing = Standing::Missing { until };
                    true
                }
                Standing::Remembered if !readable => {
                    entry.standing = Standing::Missing { until };
                    true
                }
                Standing::Listed | Standing::Remembered => false,
                Standing::Missing { .. } => true,
            }
        });
        self.changed |= self.entries.len() != before;
        complaint
    }

    /// The registry lists `value` under `id` from now on.
    pub(super) fn put(&mut self, id: &str, value: &[u8]) -> Option<Complaint> {
        match self.read(id, value) {
            Ok(listed) => {
                self.malformed.remove(id);
                self.insert(id, listed);
                None
            }
            Err(reason) => reason,
        }
    }

    /// `id` was not renewed in time, says the registry. Where nobody could have renewed it, that says nothing: its
    /// registrant gets the time to put it anew.
    pub(super) fn run_out(&mut self, now: Instant, id: &str) {
        let grace = self.grace.filter(|grace| *grace > now);
        let Some(entry) = self.entries.get_mut(id) else { return };
        match (grace, entry.standing) {
            (_, Standing::RanOut { .. }) => {}
            (Some(until), _) => entry.standing = Standing::Missing { until },
            (None, _) => {
                entry.standing = Standing::RanOut { until: now + self.ttl };
                self.malformed.remove(id);
                self.changed = true;
            }
        }
    }

    /// `id` was withdrawn.
    pub(super) fn delete(&mut self, id: &str) {
        self.malformed.remove(id);
        self.changed |= self.entries.remove(id).is_some();
    }

    /// What was missing for long enough goes, unless it is all that is left.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_over = |entry: &Entry| entry.standing.until().is_some_and(|until| until <= now);
        if self.entries.values().all(|entry| is_over(entry) || entry.standing.ran_out()) {
            for entry in self.entries.values_mut().filter(|entry| !entry.standing.ran_out()) {
                entry.standing = Standing::RanOut { until: now };
                self.changed = true;
            }
            return;
        }
        let before = self.entries.len();
        self.entries.retain(|_, entry| !is_over(entry));
        self.changed |= self.entries.len() != before;
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether the endpoints may have changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// When [`View::expire`] has something to do.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        if self.entries.values().all(|entry| entry.standing.ran_out()) {
            return None;
        }
        self.entries.values().filter_map(|entry| entry.standing.until()).min()
    }

    /// One endpoint a place, in the order of places: of several entries for one place, which a copy leaves that
    /// crashed and started anew, the newest counts.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let mut by_place: BTreeMap<&Place, (&String, &Entry)> = BTreeMap::new();
        for (id, entry) in &self.entries {
            let rank = |id: &String, entry: &Entry| {
                (entry.standing == Standing::Listed, entry.listed.registered, id.clone())
            };
            match by_place.entry(entry.listed.endpoint.place()) {
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert((id, entry));
                }
                btree_map::Entry::Occupied(mut taken) => {
                    let (other_id, other) = *taken.get();
                    if rank(id, entry) > rank(other_id, other) {
                        taken.insert((id, entry));
                    }
                }
            }
        }
        let endpoint = |entry: &Entry| match entry.standing {
            Standing::RanOut { .. } => entry.listed.endpoint.clone().with_health(Health::Failing),
            _ => entry.listed.endpoint.clone(),
        };
        by_place.into_values().map(|(_, entry)| endpoint(entry)).collect()
    }

    /// The entries with their ids.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Listed)> {
        self.entries.iter().map(|(id, entry)| (id.as_str(), &entry.listed))
    }

    /// How many entries the registry does not list.
    pub(super) fn unconfirmed(&self) -> usize {
        self.entries.values().filter(|entry| entry.standing != Standing::Listed).count()
    }

    /// How many values can't be read.
    pub(super) fn malformed(&self) -> usize {
        self.malformed.len()
    }

    fn insert(&mut self, id: &str, listed: Listed) {
        let entry = Entry { listed, standing: Standing::Listed };
        match self.entries.get_mut(id) {
            Some(known) => {
                self.changed |= known.listed != entry.listed || known.standing != entry.standing;
                *known = entry;
            }
            None => {
                self.changed = true;
                self.entries.insert(id.to_owned(), entry);
            }
        }
    }

    /// The reason is `None` where it was told before.
    fn read(&mut self, id: &str, value: &[u8]) -> Result<Listed, Option<Complaint>> {
        let is_text = |byte: u8| byte.is_ascii_graphic();
        let refused = if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(is_text) {
            "its id is malformed"
        } else if !self.entries.contains_key(id) && self.entries.len() + self.malformed.len() >= MOST {
            "there are more entries than 32768"
        } else {
            match Listed::read(value) {
                Ok(listed) => return Ok(listed),
                Err(reason) => {
                    self.malformed.insert(id.to_owned());
                    reason
                }
            }
        };
        let first = !std::mem::replace(&mut self.complained, true);
        Err(first.then_some(Complaint(refused)))
    }
}
