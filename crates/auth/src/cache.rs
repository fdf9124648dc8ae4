//! Tokens that were verified, so that the second sight of one costs no cryptography.
//!
//! Sets of a few places each, read without a lock. A keyed hash of the whole token finds the set, and the whole token is
//! compared: nobody is taken for somebody else whose token has the same hash, and nobody can aim at a set.

use std::{
    array, fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;

use crate::{Principal, keys::Key};

/// Places in a set.
const PLACES: usize = 8;

/// Longer tokens are not kept.
const LONGEST: usize = 4 << 10;

/// What is known of tokens.
pub(crate) struct Cache {
    hasher: RandomState,
    sets: Box<[Set]>,
}

struct Set {
    /// The hashes of what is in the places; 0 where nothing is. They may be behind: the token decides.
    hashes: [AtomicU64; PLACES],
    places: [ArcSwapOption<Entry>; PLACES],
    /// Where the next one that has to go is looked for.
    hand: AtomicUsize,
}

struct Entry {
    token: Box<str>,
    principal: Principal,
    key: Arc<Key>,
    /// Whether it was of use since the hand came by.
    is_used: AtomicBool,
}

impl Entry {
    fn holds(&self, now: f64) -> bool {
        now < self.principal.expires() && !self.key.is_gone()
    }
}

impl Cache {
    /// For about `most` tokens: so many, rounded up to whole sets of 8.
    pub(crate) fn new(most: usize) -> Option<Self> {
        let sets = (0..most.div_ceil(PLACES)).map(|_| Set::new()).collect();
        (most > 0).then(|| Self { hasher: RandomState::new(), sets })
    }

    /// Who sent `token`, if that was found out, it has not expired (seconds since 1970), and its key is still there.
    pub(crate) fn get(&self, token: &str, now: f64) -> Option<Principal> {
        let (set, hash) = self.set(token)?;
        for (place, known) in set.places.iter().zip(&set.hashes) {
            if known.load(Ordering::Relaxed) != hash {
                continue;
            }
            let entry = place.load();
            let Some(entry) = entry.as_ref().filter(|entry| *entry.token == *token) else { continue };
            if !entry.holds(now) {
                known.store(0, Ordering::Relaxed);
                place.store(None);
                return None;
            }
            // Written only when it changes, so that the line stays shared between cores.
            if !entry.is_used.load(Ordering::Relaxed) {
                entry.is_used.store(true, Ordering::Relaxed);
            }
            return Some(entry.principal.clone());
        }
        None
    }

    /// Remembers who sent `token`, which `key` has signed.
    pub(crate) fn insert(&self, token: &str, principal: Principal, key: Arc<Key>, now: f64) {
        if token.len() > LONGEST {
            return;
        }
        let Some((set, hash)) = self.set(token) else { return };
        let entry = Entry { token: token.into(), principal, key, is_used: AtomicBool::new(false) };
        let Some((place, known)) = set.victim(token, now) else { return };
        known.store(0, Ordering::Relaxed);
        place.store(Some(Arc::new(entry)));
        known.store(hash, Ordering::Relaxed);
    }

    fn set(&self, token: &str) -> Option<(&Set, u64)> {
        let hash = self.hasher.hash_one(token);
        // The upper bits of the product are below the number of sets.
        let index = (u128::from(hash) * self.sets.len() as u128) >> 64;
        Some((self.sets.get(usize::try_from(index).ok()?)?, hash | 1))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let places = self.sets.iter().flat_map(|set| &set.places);
        places.filter(|place| place.load().is_some()).count()
    }
}

impl Set {
    fn new() -> Self {
        Self {
            hashes: array::from_fn(|_| AtomicU64::new(0)),
            places: array::from_fn(|_| ArcSwapOption::empty()),
            hand: AtomicUsize::new(0),
        }
    }

    /// The place of the same token, else one that is of no use, else the next one that was not used for a round.
    fn victim(&self, token: &str, now: f64) -> Option<(&ArcSwapOption<Entry>, &AtomicU64)> {
        let places = || self.places.iter().zip(&self.hashes);
        let is_same = |(place, _): &(&ArcSwapOption<Entry>, _)| {
            place.load().as_ref().is_some_and(|entry| *entry.token == *token)
        };
        let is_useless = |(place, _): &(&ArcSwapOption<Entry>, _)| {
            place.load().as_ref().is_none_or(|entry| !entry.holds(now))
        };
        if let Some(found) = places().find(is_same).or_else(|| places().find(is_useless)) {
            return Some(found);
        }
        for _ in 0..PLACES {
            let hand = self.hand.fetch_add(1, Ordering::Relaxed) % PLACES;
            let found = places().nth(hand)?;
            let entry = found.0.load();
            if !entry.as_ref().is_some_and(|entry| entry.is_used.swap(false, Ordering::Relaxed)) {
                return Some(found);
            }
        }
        places().nth(self.hand.fetch_add(1, Ordering::Relaxed) % PLACES)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("places", &(self.sets.len() * PLACES)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::config::Secret;

    use super::*;
    use crate::keys::{Hmac, Key};

    fn key() -> Arc<Key> {
        Arc::new(Key::of_secret(&Secret::new("x".repeat(32)), Hmac::HS256))
    }

    fn principal(expires: f64) -> Principal {
        Principal::for_test("somebody", expires)
    }

    #[test]
    fn a_token_is_known_until_it_expires() {
        let (cache, key) = (Cache::new(8).unwrap(), key());
        cache.insert("a.b.c", principal(100.0), key, 10.0);
        assert_eq!(cache.get("a.b.c", 99.9).unwrap().subject(), Some("somebody"));
        assert!(cache.get("a.b.d", 10.0).is_none());
        assert!(cache.get("a.b.c", 100.0).is_none());
        assert_eq!(cache.len(), 0, "it was removed");
    }

    #[test]
    fn a_token_is_forgotten_when_its_key_goes() {
        let (cache, key) = (Cache::new(8).unwrap(), key());
        cache.insert("a.b.c", principal(100.0), Arc::clone(&key), 10.0);
        assert!(cache.get("a.b.c", 10.0).is_some());
        key.leave();
        assert!(cache.get("a.b.c", 10.0).is_none());
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn there_are_never_more_than_places() {
        let (cache, key) = (Cache::new(60).unwrap(), key());
        for number in 0..1000 {
            cache.insert(&format!("{number}"), principal(100.0), Arc::clone(&key), 10.0);
        }
        let len = cache.len();
        assert!((32..=64).contains(&len), "{len}");
        cache.insert(&"x".repeat(LONGEST + 1), principal(100.0), key, 10.0);
        assert!(cache.get(&"x".repeat(LONGEST + 1), 10.0).is_none());
        assert!(Cache::new(0).is_none());
    }

    #[test]
    fn what_is_of_use_stays_where_others_come_and_go() {
        let (cache, key) = (Cache::new(8).unwrap(), key());
        cache.insert("hot", principal(100.0), Arc::clone(&key), 10.0);
        for number in 0..1000 {
            assert!(cache.get("hot", 10.0).is_some(), "{number}");
            cache.insert(&format!("{number}"), principal(100.0), Arc::clone(&key), 10.0);
        }
    }

    #[test]
    fn a_token_that_comes_again_takes_no_second_place() {
        let (cache, key) = (Cache::new(8).unwrap(), key());
        for expires in [50.0, 100.0] {
            cache.insert("a", principal(expires), Arc::clone(&key), 10.0);
        }
        assert_eq!(cache.len(), 1);
        assert!(cache.get("a", 70.0).is_some());
    }

    #[test]
    fn threads_that_read_and_write_never_see_somebody_else() {
        let (cache, key) = (Cache::new(16).unwrap(), key());
        let work = |seed: u64| {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..20_000 {
                let name = random.u8(..64).to_string();
                match cache.get(&name, 10.0) {
                    Some(found) => assert_eq!(found.subject(), Some(name.as_str())),
                    None => cache.insert(&name, Principal::for_test(&name, 100.0), Arc::clone(&key), 10.0),
                }
            }
        };
        std::thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || work(seed));
            }
        });
    }
}
