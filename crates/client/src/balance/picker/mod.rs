//! The choice of an endpoint.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use fastrand::Rng;
use mainstay_discovery::{ServiceName, Watch};
use tokio::runtime::Handle;

use super::{
    Config, Key, Policy,
    census::{Census, nanos},
    check::Check,
    ejection,
    health::Claim,
    known::{IN_USE, Known, Slot, Tier, Version},
    place::{Member, Place},
    state,
};

/// How often two are drawn before all are looked at.
const DRAWS: usize = 3;
/// How often an endpoint is chosen before one is taken that another request is probing already.
const CHOICES: usize = 3;
/// Entries of the table that are looked at for a key before the request is treated as one without.
const TRIES: usize = 128;
/// Requests in flight to an endpoint that are within every bound: with few of them, a share says nothing.
const FEW: u32 = 8;
/// More endpoints than this are sorted away from the callers, on a thread for blocking work.
const MANY: usize = 256;
/// And not more often than leaves most of that thread's time free, nor later than this after a change.
const LONGEST_DELAY: u64 = 250_000_000;

/// Chooses among the endpoints that a [`Watch`] lists: the choice of the client as a piece of its own. Cloning is cheap
/// and shares everything.
///
/// It keeps a `T` for each endpoint as long as that is listed, such as its connections. It sends nothing, and runs
/// nothing in the background: what the registry says is taken over, and endpoints are compared, by the choices
/// themselves; of more than a few hundred endpoints on tokio's threads for blocking work.
///
/// ```
/// use mainstay_client::balance::{self, Config, Origin, Picker};
/// use mainstay_discovery::{Endpoint, watch::Publisher};
/// use tokio::time::{Duration, Instant};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let publisher = Publisher::new();
/// publisher.publish([Endpoint::tcp("10.0.0.7", 80), Endpoint::tcp("10.0.0.8", 80)]);
/// let picker: Picker<()> =
///     Picker::new(publisher.watch(), Origin::default(), Config::default(), balance::ejection::Config::default());
///
/// let member = picker.choose(&[], None).expect("two are listed");
/// let mut request = member.start(Instant::now() + Duration::from_secs(1));
/// // The request is sent to `member.endpoint()`, and does not get there.
/// request.failed();
/// drop(request);
/// let other = picker.choose(&[], None).expect("two are listed");
/// assert_ne!(other.endpoint(), member.endpoint());
/// # }
/// ```
#[derive(Debug)]
pub struct Picker<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    watch: Watch,
    origin: Origin,
    census: Arc<Census>,
    config: ArcSwap<Config>,
    /// Counts the changes of `config`.
    configured: AtomicU64,
    known: ArcSwap<Known<T>>,
    /// Set by who makes `known` anew, or compares the endpoints.
    working: AtomicBool,
    /// When `known` may be made anew, where that is much work; and when endpoints are compared next.
    renew_at: AtomicU64,
    sweep_at: AtomicU64,
    check_at: AtomicU64,
}

/// Who chooses, and where that is.
#[derive(Debug, Clone)]
pub struct Origin {
    pub(super) zone: Option<Arc<str>>,
    /// What its subset depends on.
    pub(super) id: u64,
}

impl Origin {
    /// In this zone: endpoints there are preferred.
    #[must_use]
    pub fn with_zone(self, zone: impl Into<Arc<str>>) -> Self {
        Self { zone: Some(zone.into()), ..self }
    }

    /// With this name among all clients, such as that of the host or the pod; its subset of the endpoints depends on it.
    #[must_use]
    pub fn with_id(self, id: impl AsRef<str>) -> Self {
        Self { id: Key::of(id.as_ref()).hash(), ..self }
    }
}

/// In no zone, and with an id that nobody else has.
impl Default for Origin {
    fn default() -> Self {
        Self { zone: None, id: fastrand::u64(..) }
    }
}

/// What is being looked for.
struct Look<'a, T> {
    now: u64,
    tried: &'a [Arc<Place<T>>],
    /// Whether too many are out to be choosy.
    also_ejected: bool,
    /// Whether none is better than one that is passed over.
    only_available: bool,
    slow_start: u64,
}

impl<T: Default + Send + Sync + 'static> Picker<T> {
    /// Of the endpoints in `watch`, as `config` and `ejection` say.
    #[must_use]
    pub fn new(watch: Watch, origin: Origin, config: Config, ejection: ejection::Config) -> Self {
        let sweep_every = nanos(ejection.interval.get());
        let census = Arc::new(Census::new(ejection));
        census.counts_in_flight.store(config.policy == Policy::Hash, Ordering::Relaxed);
        let config = Arc::new(config);
        // The version first: endpoints that are newer than it are only made once more.
        let made_of = Version { registry: watch.version(), config: 0 };
        let known = Known::new(None, made_of, &watch.snapshot(), config.clone(), &origin, &census);
        let sweep_at = AtomicU64::new(census.clock.now() + sweep_every);
        Self(Arc::new(Inner {
            watch,
            origin,
            census,
            config: ArcSwap::new(config),
            configured: AtomicU64::new(0),
            known: ArcSwap::from_pointee(known),
            working: AtomicBool::new(false),
            renew_at: AtomicU64::new(0),
            sweep_at,
            check_at: AtomicU64::new(0),
        }))
    }

    /// Choices that begin from now on are made so. What is known of endpoints stays.
    pub fn configure(&self, config: Config, ejection: ejection::Config) {
        let inner = &self.0;
        inner.census.counts_in_flight.store(config.policy == Policy::Hash, Ordering::Relaxed);
        if config.health_check.is_none() {
            let now = inner.census.clock.now();
            inner
                .known
                .load()
                .slots
                .iter()
                .for_each(|slot| slot.place.health.checked(now, true, &inner.census));
        }
        inner.census.ejection.store(Arc::new(ejection));
        inner.config.store(Arc::new(config));
        inner.configured.fetch_add(1, Ordering::Release);
    }

    /// One endpoint to send a request to, not one of `tried` while there are others. `None` if there
    /// are none at all.
    #[must_use]
    pub fn choose(&self, tried: &[Arc<Place<T>>], key: Option<Key>) -> Option<Member<T>> {
        self.choose_one(tried, key, false)
    }

    /// Likewise, and only one that should get requests now: `None` while all are passed over or were tried.
    #[must_use]
    pub fn choose_available(&self, tried: &[Arc<Place<T>>], key: Option<Key>) -> Option<Member<T>> {
        self.choose_one(tried, key, true)
    }

    fn choose_one(
        &self,
        tried: &[Arc<Place<T>>],
        key: Option<Key>,
        only_available: bool,
    ) -> Option<Member<T>> {
        let inner = &*self.0;
        let now = inner.census.clock.now();
        let mut known = inner.known.load();
        if inner.version() != known.made_of || inner.sweep_at.load(Ordering::Relaxed) <= now {
            drop(known);
            self.catch_up(now);
            known = inner.known.load();
        }
        let also_ejected = inner.census.is_below(known.config.panic_threshold);
        let look = Look { now, tried, also_ejected, only_available, slow_start: known.slow_start };
        let mut random = Rng::new();
        let mut chosen = None;
        // A failing endpoint is probed by one request at a time; whoever is not that one chooses again.
        for _ in 0..CHOICES {
            let index = known.choose(&look, key, &inner.census, &mut random)?;
            let place = &known.slots.get(index)?.place;
            if let Some(claim) = place.health.claim(now, also_ejected) {
                return known.member(index, claim);
            }
            chosen = Some(index);
        }
        if only_available {
            return None;
        }
        known.member(chosen?, Claim::Ordinary)
    }

    /// The endpoints to check, if that is due and nobody else does it. What the client does not use is not asked.
    pub(crate) fn due_for_check(&self, check: &Check) -> Option<Vec<Member<T>>> {
        let inner = &*self.0;
        let (now, at) = (inner.census.clock.now(), inner.check_at.load(Ordering::Relaxed));
        let next = now.saturating_add(nanos(check.interval.get()));
        if at > now
            || inner.check_at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return None;
        }
        let known = inner.known.load();
        Some((0..known.slots.len()).filter_map(|index| known.member(index, Claim::Ordinary)).collect())
    }

    /// Those that get requests now: they serve, are in the subset, and are not passed over.
    pub(crate) fn in_use(&self) -> Vec<Member<T>> {
        let inner = &*self.0;
        let now = inner.census.clock.now();
        if inner.version() != inner.known.load().made_of {
            self.catch_up(now);
        }
        let known = inner.known.load();
        let serving = known.tiers.iter().take(IN_USE).flat_map(|tier| tier.range.clone());
        let available = serving.filter(|index| {
            known.slots.get(*index).is_some_and(|slot| slot.place.health.is_available(now, false))
        });
        available.filter_map(|index| known.member(index, Claim::Ordinary)).collect()
    }

    /// After what time an endpoint that is passed over may get requests again: a second at most, for what nobody knows.
    pub(crate) fn available_in(&self) -> Duration {
        const SOONEST: Duration = Duration::from_millis(1);
        const LATEST: Duration = Duration::from_secs(1);
        let inner = &*self.0;
        let (now, known) = (inner.census.clock.now(), inner.known.load());
        let also_ejected = inner.census.is_below(known.config.panic_threshold);
        let passed_over = known.slots.iter().map(|slot| slot.place.health.available_at(also_ejected));
        let soonest = passed_over.filter(|at| *at > now).min();
        soonest.map_or(LATEST, |at| Duration::from_nanos(at - now).clamp(SOONEST, LATEST))
    }

    /// Where the endpoints come from.
    pub(crate) fn watch(&self) -> &Watch {
        &self.0.watch
    }

    /// What is known of the endpoints now, under the name of their service.
    #[must_use]
    pub fn state(&self, service: ServiceName) -> state::Target {
        self.state_with(service, |_| ())
    }

    /// Likewise, with `more` of what is kept for each.
    #[must_use]
    pub fn state_with<M>(&self, service: ServiceName, more: impl Fn(&T) -> M) -> state::Target<M> {
        state::Target::new(service, &self.0.known.load(), &self.0.census, more)
    }

    /// Takes over what is new and compares the endpoints, if nobody else does: who comes meanwhile goes on with what was
    /// known.
    #[cold]
    fn catch_up(&self, now: u64) {
        let inner = &self.0;
        let known = inner.known.load();
        let most = if known.maglev.is_some() { MANY / 4 } else { MANY };
        let is_many = known.slots.len() > most;
        let is_due = inner.version() == known.made_of || inner.renew_at.load(Ordering::Relaxed) <= now;
        drop(known);
        if is_many && !is_due {
            return;
        }
        let Some(work) = Working::claim(inner) else { return };
        let is_much = is_many || inner.watch.snapshot().len() > most;
        match Handle::try_current() {
            Ok(runtime) if is_much => drop(runtime.spawn_blocking(move || work.run())),
            _ => work.run(),
        }
    }
}

impl<T> Inner<T> {
    fn version(&self) -> Version {
        Version { registry: self.watch.version(), config: self.configured.load(Ordering::Acquire) }
    }
}

/// The right to work on the endpoints, until dropped.
struct Working<T>(Arc<Inner<T>>);

impl<T: Default> Working<T> {
    fn claim(inner: &Arc<Inner<T>>) -> Option<Self> {
        let claimed = inner.working.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        claimed.is_ok().then(|| Self(inner.clone()))
    }

    fn run(self) {
        let inner = &*self.0;
        let began = inner.census.clock.now();
        let version = inner.version();
        let old = inner.known.load();
        if version != old.made_of {
            let (listed, config) = (inner.watch.snapshot(), inner.config.load_full());
            let new = Known::new(Some(&old), version, &listed, config, &inner.origin, &inner.census);
            inner.known.store(Arc::new(new));
            let ended = inner.census.clock.now();
            let pause = ended.saturating_sub(began).saturating_mul(10).min(LONGEST_DELAY);
            inner.renew_at.store(ended + pause, Ordering::Relaxed);
        }
        if inner.sweep_at.load(Ordering::Relaxed) <= began {
            let every = nanos(inner.census.ejection.load().interval.get());
            inner.sweep_at.store(began.saturating_add(every), Ordering::Relaxed);
            inner.known.load().sweep(began, &inner.census);
        }
    }
}

impl<T> Drop for Working<T> {
    fn drop(&mut self) {
        self.0.working.store(false, Ordering::Release);
    }
}

impl<T> Known<T> {
    fn member(&self, index: usize, claim: Claim) -> Option<Member<T>> {
        let (endpoint, slot) = (self.endpoints.get(index)?, self.slots.get(index)?);
        Some(Member::new(endpoint.clone(), slot.place.clone(), claim))
    }

    /// The index of one; `None` only if there are none, or none that is wanted. Those that were tried already, or that are not available, are
    /// chosen only when no other is left: an endpoint that may fail is better than none.
    fn choose(
        &self,
        look: &Look<'_, T>,
        key: Option<Key>,
        census: &Census,
        random: &mut Rng,
    ) -> Option<usize> {
        if let [only] = self.slots.as_slice() {
            return (!look.only_available || look.may_take(only)).then_some(0);
        }
        if let (Some(maglev), Some(key)) = (&self.maglev, key) {
            let bound = self.config.hash_bound * f64::from(census.in_flight.load(Ordering::Relaxed) + 1)
                / f64::from(census.listed().max(1));
            let within = |slot: &Slot<T>| {
                let in_flight = slot.place.load.in_flight();
                in_flight < FEW || f64::from(in_flight) < bound * slot.share
            };
            let mut order = maglev.from(key.hash(), TRIES);
            let found = order
                .find(|index| self.slots.get(*index).is_some_and(|slot| within(slot) && look.wants(slot)));
            if found.is_some() {
                return found;
            }
        }
        let [here, elsewhere, ..] = &self.tiers;
        if !here.range.is_empty()
            && (elsewhere.range.is_empty() || random.f64() < self.share_of_zone(census))
            && let Some(index) = self.draw(here, look, random)
        {
            return Some(self.spill(index, elsewhere, look, random));
        }
        if let Some(index) = self.draw(elsewhere, look, random) {
            return Some(index);
        }
        // Nothing is found by draws: look at all of them, the preferred ones first. From a random place on, so that the
        // neighbour of a row of failing ones does not get all of their requests.
        let mut of_tiers = |wanted: &dyn Fn(&Slot<T>) -> bool| {
            self.tiers
                .iter()
                .find_map(|tier| around(&tier.range, random).find(|index| wanted(&self.slots[*index])))
        };
        let available = of_tiers(&|slot| look.may_take(slot));
        if look.only_available {
            return available;
        }
        available.or_else(|| of_tiers(&|slot| !look.was_tried(slot))).or_else(|| of_tiers(&|_| true))
    }

    /// By the policy; `None` if what comes up is not wanted now.
    fn draw(&self, tier: &Tier, look: &Look<'_, T>, random: &mut Rng) -> Option<usize> {
        if tier.range.is_empty() {
            return None;
        }
        let slots = &self.slots[tier.range.clone()];
        let found = match &tier.robin {
            Some(robin) => (0..2 * DRAWS).map(|_| robin.next()).find(|index| look.wants(&slots[*index])),
            None => (0..DRAWS).find_map(|_| {
                let (one, other) = tier.draw.two(random);
                let (first, second) = (&slots[one], &slots[other]);
                match (look.wants(first), look.wants(second)) {
                    (true, true) if self.cost(second, look.now) < self.cost(first, look.now) => Some(other),
                    (true, _) => Some(one),
                    (false, true) => Some(other),
                    (false, false) => None,
                }
            }),
        };
        found.map(|index| tier.range.start + index)
    }

    fn cost(&self, slot: &Slot<T>, now: u64) -> f64 {
        match self.config.policy {
            Policy::LeastRequest => f64::from(slot.place.load.in_flight()) / slot.share,
            _ => slot.place.load.cost(now, slot.share),
        }
    }

    /// The share of the requests that stays in the zone of this client: so much that each endpoint that is well gets as
    /// many as any other, if clients are spread evenly over the zones (as Envoy's zone-aware routing does, which knows how
    /// they are spread). What a zone has too little of goes elsewhere.
    fn share_of_zone(&self, census: &Census) -> f64 {
        let (here, all) = census.well();
        f64::from(here) / f64::from(all.max(1)) * f64::from(self.zones)
    }

    /// `index`, unless it costs much more than one elsewhere: what the zone can't carry, spills over.
    fn spill(&self, index: usize, elsewhere: &Tier, look: &Look<'_, T>, random: &mut Rng) -> usize {
        if elsewhere.range.is_empty() || elsewhere.robin.is_some() {
            return index;
        }
        let other = elsewhere.range.start + elsewhere.draw.one(random);
        let (near, far) = (&self.slots[index], &self.slots[other]);
        let of = |slot: &Slot<T>| {
            let load = &slot.place.load;
            (load.latency(look.now), f64::from(load.in_flight()) / slot.share + 1.0)
        };
        let ((near_latency, near_requests), (far_latency, far_requests)) = (of(near), of(far));
        // Where one was never measured, only the requests can be compared.
        let by_latency =
            self.config.policy != Policy::LeastRequest && near_latency > 0.0 && far_latency > 0.0;
        let latency = if by_latency { near_latency / far_latency } else { 1.0 };
        if latency * near_requests > self.config.zone_spill * far_requests && look.wants(far) {
            other
        } else {
            index
        }
    }

    fn sweep(&self, now: u64, census: &Census) {
        let config = census.ejection.load();
        let seen: Vec<_> = self.slots.iter().map(|slot| slot.place.window.close()).collect();
        let outliers = ejection::sweep(&seen, &config);
        let interval = nanos(config.interval.get());
        for (index, (slot, seen)) in self.slots.iter().zip(&seen).enumerate() {
            if seen.requests > 0 && !outliers.iter().any(|(outlier, _)| *outlier == index) {
                slot.place.health.behaved(now, interval);
            }
        }
        for (index, reason) in outliers {
            if let Some(slot) = self.slots.get(index) {
                slot.place.health.eject(now, reason, census);
            }
        }
    }
}

impl<T> Look<'_, T> {
    fn was_tried(&self, slot: &Slot<T>) -> bool {
        self.tried.iter().any(|place| Arc::ptr_eq(place, &slot.place))
    }

    /// Whether it should get requests.
    fn may_take(&self, slot: &Slot<T>) -> bool {
        slot.place.health.is_available(self.now, self.also_ejected) && !self.was_tried(slot)
    }

    /// And this one in particular.
    fn wants(&self, slot: &Slot<T>) -> bool {
        self.may_take(slot) && slot.place.health.admits(self.now, self.slow_start)
    }
}

/// The indices of `range`, from a random one on.
fn around(range: &Range<usize>, random: &mut Rng) -> impl Iterator<Item = usize> {
    let start = if range.is_empty() { range.start } else { random.usize(range.clone()) };
    (start..range.end).chain(range.start..start)
}

impl<T> Clone for Picker<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests;
