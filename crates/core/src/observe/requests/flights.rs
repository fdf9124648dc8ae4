//! What is under way, to be looked at from elsewhere: put in and taken out by one short lock of the thread's own shard.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::time::Instant;

use crate::metrics::shard::Shards;

/// So many are known of each shard; what is more is counted only.
const MOST: usize = 4096;

/// Things under way, each until its ticket is given back.
pub(in crate::observe) struct Flights<T> {
    shards: Shards<Mutex<Slots<T>>>,
    /// Those that there was no room for.
    unknown: AtomicU64,
}

/// Where a thing is kept: how often its slot was used, its shard, its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::observe) struct Ticket(u64);

struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u16>,
    /// When somebody wants to be told that so much time has passed.
    due: Option<Instant>,
}

struct Slot<T> {
    used: u32,
    /// What it waits for, where it said so.
    waits_for: Option<&'static str>,
    content: Option<T>,
}

/// What is under way, as it was when it was looked at.
pub(in crate::observe) struct Flight<T> {
    pub(in crate::observe) ticket: Ticket,
    pub(in crate::observe) waits_for: Option<&'static str>,
    pub(in crate::observe) content: T,
}

impl Ticket {
    /// Of what is not known.
    pub(in crate::observe) const NONE: Self = Self(0);
    /// Of what there was no room for.
    const UNKNOWN: Self = Self(u64::MAX);

    fn new(used: u32, shard: usize, slot: u16) -> Self {
        Self(u64::from(used) << 32 | (shard as u64) << 16 | u64::from(slot))
    }

    pub(in crate::observe) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(in crate::observe) fn to_bits(self) -> u64 {
        self.0
    }

    fn used(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn shard(self) -> usize {
        usize::from((self.0 >> 16) as u16)
    }

    fn slot(self) -> usize {
        usize::from(self.0 as u16)
    }
}

impl<T> Flights<T> {
    pub(in crate::observe) fn insert(&self, content: T) -> Ticket {
        let (shard, slots) = self.shards.mine_with_index();
        let mut slots = locked(slots);
        let Some(index) = slots.free.pop().or_else(|| slots.grow()) else {
            self.unknown.fetch_add(1, Relaxed);
            return Ticket::UNKNOWN;
        };
        let Some(slot) = slots.slots.get_mut(usize::from(index)) else { return Ticket::NONE };
        slot.content = Some(content);
        Ticket::new(slot.used, shard, index)
    }

    /// What was put in for it; it is dropped by the caller, after the lock.
    pub(in crate::observe) fn remove(&self, ticket: Ticket) -> Option<T> {
        match self.shards.get(ticket.shard()) {
            Some(slots) => locked(slots).remove(ticket),
            None => self.forget(ticket),
        }
    }

    /// The same, and whether something is [due](Self::again_at) in the shard where it was.
    pub(in crate::observe) fn remove_at(&self, ticket: Ticket, now: Instant) -> (Option<T>, bool) {
        let Some(slots) = self.shards.get(ticket.shard()) else { return (self.forget(ticket), false) };
        let mut slots = locked(slots);
        let is_due = slots.due.is_none_or(|due| now >= due);
        (slots.remove(ticket), is_due)
    }

    /// Nothing is due before then, in the shard of this ticket.
    #[cold]
    pub(in crate::observe) fn again_at(&self, ticket: Ticket, due: Instant) {
        if let Some(slots) = self.shards.get(ticket.shard()) {
            locked(slots).due = Some(due);
        }
    }

    #[cold]
    fn forget(&self, ticket: Ticket) -> Option<T> {
        if ticket == Ticket::UNKNOWN {
            self.unknown.fetch_sub(1, Relaxed);
        }
        None
    }

    /// Changes what it is said to wait for.
    pub(in crate::observe) fn say(&self, ticket: Ticket, say: impl FnOnce(&mut Option<&'static str>)) {
        self.change(ticket, |slot| say(&mut slot.waits_for));
    }

    /// Changes what was put in for it.
    pub(in crate::observe) fn update(&self, ticket: Ticket, change: impl FnOnce(&mut T)) {
        self.change(ticket, |slot| {
            if let Some(content) = &mut slot.content {
                change(content);
            }
        });
    }

    fn change(&self, ticket: Ticket, change: impl FnOnce(&mut Slot<T>)) {
        let Some(slots) = self.shards.get(ticket.shard()) else { return };
        let mut slots = locked(slots);
        if let Some(slot) = slots.slots.get_mut(ticket.slot()).filter(|slot| slot.used == ticket.used()) {
            change(slot);
        }
    }

    /// How many there are beside those that [`Self::all`] gives.
    pub(in crate::observe) fn unknown(&self) -> u64 {
        self.unknown.load(Relaxed)
    }
}

impl<T: Clone> Flights<T> {
    /// All that are known. Each shard is held for as long as it takes to clone what it has.
    pub(in crate::observe) fn all(&self) -> Vec<Flight<T>> {
        let mut all = Vec::new();
        for (shard, slots) in self.shards.iter().enumerate() {
            for (index, slot) in locked(slots).slots.iter().enumerate() {
                if let Some(content) = &slot.content {
                    let ticket = Ticket::new(slot.used, shard, index as u16);
                    all.push(Flight { ticket, waits_for: slot.waits_for, content: content.clone() });
                }
            }
        }
        all
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        let none = || Mutex::new(Slots { slots: Vec::new(), free: Vec::new(), due: None });
        Self { shards: Shards::new(none), unknown: AtomicU64::new(0) }
    }
}

impl<T> Slots<T> {
    fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let slot = self.slots.get_mut(ticket.slot()).filter(|slot| slot.used == ticket.used())?;
        let content = slot.content.take()?;
        slot.used = slot.used.wrapping_add(1).max(1);
        slot.waits_for = None;
        self.free.push(ticket.0 as u16);
        Some(content)
    }

    #[cold]
    fn grow(&mut self) -> Option<u16> {
        let index = u16::try_from(self.slots.len()).ok().filter(|index| usize::from(*index) < MOST)?;
        self.slots.push(Slot { used: 1, waits_for: None, content: None });
        // As many as there are slots: giving one back never allocates.
        self.free.reserve(self.slots.capacity() - self.free.len());
        Some(index)
    }
}

fn locked<T>(slots: &Mutex<Slots<T>>) -> MutexGuard<'_, Slots<T>> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(flights: &Flights<u32>) -> Vec<u32> {
        let mut contents: Vec<_> = flights.all().into_iter().map(|flight| flight.content).collect();
        contents.sort_unstable();
        contents
    }

    #[test]
    fn what_was_put_in_is_there_until_its_ticket_is_given_back() {
        let flights = Flights::default();
        let (one, two) = (flights.insert(1), flights.insert(2));
        assert_eq!(contents(&flights), [1, 2]);
        assert_eq!(flights.remove(one), Some(1));
        assert_eq!(flights.remove(one), None);
        let three = flights.insert(3);
        // Its slot belongs to another one now.
        assert_ne!(one, three);
        flights.say(one, |_| panic!("it belongs to another one"));
        flights.update(one, |content| *content = 7);
        assert_eq!((flights.remove(one), contents(&flights)), (None, vec![2, 3]));
        assert_eq!((flights.remove(two), flights.remove(three)), (Some(2), Some(3)));
        assert!(contents(&flights).is_empty());
        assert_eq!(flights.remove(Ticket::NONE), None);
    }

    #[test]
    fn something_is_due_when_its_time_has_come() {
        let (flights, now) = (Flights::default(), Instant::now());
        let later = now + std::time::Duration::from_secs(1);
        let ticket = flights.insert(1);
        assert_eq!(flights.remove_at(ticket, now), (Some(1), true));
        flights.again_at(ticket, later);
        assert_eq!(flights.remove_at(flights.insert(2), now), (Some(2), false));
        assert_eq!(flights.remove_at(flights.insert(3), later), (Some(3), true));
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let flights = Flights::default();
        let tickets: Vec<_> = (0..5000).map(|index| flights.insert(index)).collect();
        assert_eq!((flights.all().len(), flights.unknown()), (MOST, (5000 - MOST) as u64));
        for ticket in tickets {
            flights.remove(ticket);
        }
        assert_eq!((flights.all().len(), flights.unknown()), (0, 0));
        flights.insert(1);
        assert_eq!(contents(&flights), [1]);
    }

    #[test]
    fn it_may_be_given_back_by_another_thread() {
        let flights = Flights::default();
        let tickets: Vec<_> = (0..100).map(|index| flights.insert(index)).collect();
        std::thread::scope(|scope| {
            for half in tickets.chunks(50) {
                let flights = &flights;
                scope
                    .spawn(move || half.iter().for_each(|ticket| assert!(flights.remove(*ticket).is_some())));
            }
        });
        assert!(contents(&flights).is_empty());
    }

    #[test]
    fn what_it_waits_for_is_told_until_it_ends() {
        let flights = Flights::default();
        let ticket = flights.insert(1);
        flights.say(ticket, |waits_for| *waits_for = Some("a lock"));
        assert_eq!(flights.all()[0].waits_for, Some("a lock"));
        flights.remove(ticket);
        flights.insert(2);
        assert_eq!(flights.all()[0].waits_for, None);
    }
}
