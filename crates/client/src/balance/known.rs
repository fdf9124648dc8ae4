//! The endpoints of a service, in the order in which they are preferred, and what the policies need to choose among them.
//! Made anew when the registry says something new; never changed.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use mainstay_discovery::{Endpoint, Health as Listed};

use super::{
    Config, Policy,
    census::{Census, nanos},
    choice::{draw::Draw, maglev::Maglev, robin::Robin},
    key,
    picker::Origin,
    place::Place,
};

#[derive(Debug)]
pub(super) struct Known<T> {
    /// What it was made of.
    pub(super) made_of: Version,
    pub(super) config: Arc<Config>,
    /// Nanoseconds.
    pub(super) slow_start: u64,
    /// One tier after the other.
    pub(super) slots: Vec<Slot<T>>,
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) tiers: [Tier; TIERS],
    /// For the policy `hash`: over the endpoints that serve, in the order of the slots.
    pub(super) maglev: Option<Maglev>,
    /// How many zones have endpoints that serve.
    pub(super) zones: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Version {
    pub(super) registry: u64,
    pub(super) config: u64,
}

/// What a choice reads of an endpoint; small, and side by side.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) place: Arc<Place<T>>,
    /// Its weight over the mean of its tier.
    pub(super) share: f64,
}

/// Endpoints that are preferred alike.
#[derive(Debug)]
pub(super) struct Tier {
    pub(super) range: Range<usize>,
    pub(super) draw: Draw,
    pub(super) robin: Option<Robin>,
}

/// They serve, and are in the zone of this client.
const HERE: usize = 0;
/// They serve, and are elsewhere, or zones don't count.
const ELSEWHERE: usize = 1;
/// They serve, and are outside of the subset of this client.
const SPARE: usize = 2;
const DRAINING: usize = 3;
const FAILING: usize = 4;
pub(super) const TIERS: usize = 5;
/// The first tiers, whose endpoints get requests while one of them is well.
pub(super) const IN_USE: usize = 2;

impl<T: Default> Known<T> {
    pub(super) fn new(
        old: Option<&Self>,
        made_of: Version,
        listed: &[Endpoint],
        config: Arc<Config>,
        origin: &Origin,
        census: &Arc<Census>,
    ) -> Self {
        let now = census.clock.now();
        let mut places: HashMap<&mainstay_discovery::Place, Arc<Place<T>>> = old
            .iter()
            .flat_map(|old| old.endpoints.iter().zip(&old.slots))
            .map(|(endpoint, slot)| (endpoint.place(), slot.place.clone()))
            .collect();
        let had_some = !places.is_empty();
        let by_hash = config.policy == Policy::Hash;
        let zone = origin.zone.as_deref().filter(|_| config.prefer_zone && !by_hash);
        let mut entries: Vec<Entry<T>> = Vec::with_capacity(listed.len());
        for endpoint in listed {
            let place = places.entry(endpoint.place()).or_insert_with(|| {
                let place = Arc::new(Place::new(endpoint.place(), T::default(), census.clone()));
                if had_some && !config.slow_start.is_zero() {
                    place.health.start_slowly(now);
                }
                place
            });
            let tier = match endpoint.health() {
                Listed::Draining => DRAINING,
                Listed::Failing => FAILING,
                _ if zone.is_some() && endpoint.zone() == zone => HERE,
                _ => ELSEWHERE,
            };
            entries.push(Entry { tier, place: place.clone(), endpoint: Arc::new(endpoint.clone()) });
        }
        if config.subset > 0 && !by_hash {
            for tier in [HERE, ELSEWHERE] {
                keep_subset(&mut entries, tier, config.subset, origin.id);
            }
        }
        // By hash within a tier: all clients have the same order, and none of them that of the registry.
        entries.sort_unstable_by_key(|entry| (entry.tier, entry.place.hash()));

        let mut kept = HashSet::with_capacity(entries.len());
        for entry in &entries {
            kept.insert(Arc::as_ptr(&entry.place));
            entry.place.health.list(now, true, entry.tier == HERE, census);
        }
        for slot in old.iter().flat_map(|old| &old.slots) {
            if !kept.contains(&Arc::as_ptr(&slot.place)) {
                slot.place.health.list(now, false, false, census);
            }
        }
        let zones: HashSet<_> = entries
            .iter()
            .filter(|entry| entry.tier <= SPARE)
            .filter_map(|entry| entry.endpoint.zone())
            .collect();
        let zones = u32::try_from(zones.len()).unwrap_or(u32::MAX);

        let mut start = 0;
        let tiers = std::array::from_fn(|tier| {
            let count = entries.iter().skip(start).take_while(|entry| entry.tier == tier).count();
            let range = start..start + count;
            start = range.end;
            let before = old.and_then(|old| old.tiers[tier].robin.as_ref()).map(Robin::position);
            let weights: Vec<f64> = entries[range.clone()].iter().map(Entry::weight).collect();
            let robin = (config.policy == Policy::RoundRobin && count > 0)
                .then(|| Robin::new(&weights, before.unwrap_or_else(|| u64::from(fastrand::u32(..)))));
            Tier { range, draw: Draw::new(&weights), robin }
        });
        let serving = entries.iter().take_while(|entry| entry.tier <= SPARE);
        let maglev = by_hash.then(|| {
            Maglev::new(&serving.map(|entry| (entry.place.hash(), entry.weight())).collect::<Vec<_>>())
        });
        let (mut slots, mut endpoints) =
            (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        for Tier { range, .. } in &tiers {
            let of_tier = &entries[range.clone()];
            let mean = of_tier.iter().map(Entry::weight).sum::<f64>() / of_tier.len().max(1) as f64;
            for entry in of_tier {
                slots.push(Slot { place: entry.place.clone(), share: entry.weight() / mean });
                endpoints.push(entry.endpoint.clone());
            }
        }
        let slow_start = nanos(config.slow_start.get());
        Self { made_of, config, slow_start, slots, endpoints, tiers, maglev, zones }
    }
}

struct Entry<T> {
    tier: usize,
    place: Arc<Place<T>>,
    endpoint: Arc<Endpoint>,
}

impl<T> Entry<T> {
    fn weight(&self) -> f64 {
        f64::from(self.endpoint.weight())
    }
}

/// Moves all of `tier` but `count` to the spare ones, by weighted rendezvous hashing of this client's id with each of them
/// (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005 for the weights).
///
/// It needs nothing but the id, and an endpoint that comes or goes changes at most one in the subset of a client. Google's
/// Rocksteadier ("Reinventing Backend Subsetting at Google", ACM Queue 20(5), 2022) spreads connections more evenly, but
/// wants clients to be numbered without gaps, which nothing here can promise.
fn keep_subset<T>(entries: &mut [Entry<T>], tier: usize, count: usize, id: u64) {
    let mut scores: Vec<(f64, usize)> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.tier == tier)
        .map(|(index, entry)| {
            // Between 0 and 1, both excluded.
            let hash = ((key::join(id, entry.place.hash()) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            (-hash.ln() / entry.weight(), index)
        })
        .collect();
    if scores.len() <= count {
        return;
    }
    scores.select_nth_unstable_by(count, |one, other| one.0.total_cmp(&other.0));
    for (_, index) in &scores[count..] {
        entries[*index].tier = SPARE;
    }
}
