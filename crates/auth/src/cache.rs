//! What is known of tokens: that they were verified, so that the second sight of one costs no cryptography, or what they were
//! exchanged for.
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

/// Places in a set.
const PLACES: usize = 8;

/// Longer tokens are not kept.
const LONGEST: usize = 4 << 10;

/// What is known of tokens.
pub(crate) struct Cache<V> {
    hasher: RandomState,
    sets: Box<[Set<V>]>,
}

/// What is remembered of a token.
pub(crate) trait Remembered {
    /// Whether it still holds, in seconds since 1970.
    fn holds(&self, now: f64) -> bool;
}

struct Set<V> {
    /// The hashes of what is in the places; 0 where nothing is. They may be behind: the token decides.
    hashes: [AtomicU64; PLACES],
    places: [ArcSwapOption<Entry<V>>; PLACES],
    /// Where the next one that has to go is looked for.
    hand: AtomicUsize,
}

struct Entry<V> {
    token: Box<str>,
    value: V,
    /// Whether it was of use since the hand came by.
    is_used: AtomicBool,
}

impl<V: Remembered> Cache<V> {
    /// For about `most` tokens: so many, rounded up to whole sets of 8.
    pub(crate) fn new(most: usize) -> Option<Self> {
        let sets = (0..most.div_ceil(PLACES)).map(|_| Set::new()).collect();
        (most > 0).then(|| Self { hasher: RandomState::new(), sets })
    }

    /// What `read` takes of what is known of `token`, as long as that holds.
    pub(crate) fn get<R>(&self, token: &str, now: f64, read: impl FnOnce(&V) -> R) -> Option<R> {
        let (set, hash) = self.set(token)?;
        for (place, known) in set.places.iter().zip(&set.hashes) {
            if known.load(Ordering::Relaxed) != hash {
                continue;
            }
            let entry = place.load();
            let Some(entry) = entry.as_ref().filter(|entry| *entry.token == *token) else { continue };
            if !entry.value.holds(now) {
                known.store(0, Ordering::Relaxed);
                place.store(None);
                return None;
            }
            // Written only when it changes, so that the line stays shared between cores.
            if !entry.is_used.load(Ordering::Relaxed) {
                entry.is_used.store(true, Ordering::Relaxed);
            }
            return Some(read(&entry.value));
        }
        None
    }

    /// Remembers `value` of `token`.
    pub(crate) fn insert(&self, token: &str, value: V, now: f64) {
        if token.len() > LONGEST {
            return;
        }
        let Some((set, hash)) = self.set(token) else { return };
        let entry = Entry { token: token.into(), value, is_used: AtomicBool::new(false) };
        let Some((place, known)) = set.victim(token, now) else { return };
        known.store(0, Ordering::Relaxed);
        place.store(Some(Arc::new(entry)));
        known.store(hash, Ordering::Relaxed);
    }

    /// Forgets `token`.
    pub(crate) fn remove(&self, token: &str) {
        let Some((set, hash)) = self.set(token) else { return };
        for (place, known) in set.places.iter().zip(&set.hashes) {
            if known.load(Ordering::Relaxed) == hash
                && place.load().as_ref().is_some_and(|entry| *entry.token == *token)
            {
                known.store(0, Ordering::Relaxed);
                place.store(None);
            }
        }
    }

    /// Forgets all of which `is_it` is true: a walk through all places.
    pub(crate) fn remove_if(&self, is_it: impl Fn(&V) -> bool) {
        for set in &self.sets {
            for (place, known) in set.places.iter().zip(&set.hashes) {
                if place.load().as_ref().is_some_and(|entry| is_it(&entry.value)) {
                    known.store(0, Ordering::Relaxed);
                    place.store(None);
                }
            }
        }
    }

    fn set(&self, token: &str) -> Option<(&Set<V>, u64)> {
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

impl<V: Remembered> Set<V> {
    fn new() -> Self {
        Self {
            hashes: array::from_fn(|_| AtomicU64::new(0)),
            places: array::from_fn(|_| ArcSwapOption::empty()),
            hand: AtomicUsize::new(0),
        }
    }

    /// The place of the same token, else one that is of no use, else the next one that was not used for a round.
    fn victim(&self, token: &str, now: f64) -> Option<(&ArcSwapOption<Entry<V>>, &AtomicU64)> {
        let places = || self.places.iter().zip(&self.hashes);
        let is_same = |(place, _): &(&ArcSwapOption<Entry<V>>, _)| {
            place.load().as_ref().is_some_and(|entry| *entry.token == *token)
        };
        let is_useless = |(place, _): &(&ArcSwapOption<Entry<V>>, _)| {
            place.load().as_ref().is_none_or(|entry| !entry.value.holds(now))
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

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("places", &(self.sets.len() * PLACES)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::config::Secret;

    use super::*;
    use crate::{
        Principal,
        keys::{Hmac, Key},
        verifier::Verified,
    };

    fn key() -> Arc<Key> {
        Arc::new(Key::of_secret(&Secret::new("x".repeat(32)), Hmac::HS256))
    }

    fn of(name: &str, expires: f64, key: &Arc<Key>) -> Verified {
        Verified { principal: Principal::for_test(name, expires), until: expires, key: Some(Arc::clone(key)) }
    }

    impl Cache<Verified> {
        fn look(&self, token: &str, now: f64) -> Option<Principal> {
            self.get(token, now, |verified| verified.principal.clone())
        }
    }

    #[test]
    fn a_token_is_known_until_it_expires() {
        let (cache, key) = (Cache::new(8).unwrap(), key());
        cache.insert("a.b.c", of("somebody", 100.0, &key), 10.0);
        assert_eq!(cache.look("a.b.c", 99.9).unwrap().subject(), Some("somebody"));
        assert!(cache.look("a.b.d", 10.0).is_none());
        assert!(cache.look("a.b.c", 100.0).is_none());
        assert_eq!(cache.len(), 0, "it was removed");
    }

    #[test]
    fn a_token_is_forgotten_when_its_key_goes() {
        let (cache, key) = (Cache::new(8).unwrap(), key());
        cache.insert("a.b.c", of("somebody", 100.0, &key), 10.0);
        assert!(cache.look("a.b.c", 10.0).is_some());
        key.leave();
        assert!(cache.look("a.b.c", 10.0).is_none());
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn there_are_never_more_than_places() {
        let (cache, key) = (Cache::<Verified>::new(60).unwrap(), key());
        for number in 0..1000 {
            cache.insert(&format!("{number}"), of("somebody", 100.0, &key), 10.0);
        }
        let len = cache.len();
        assert!((32..=64).contains(&len), "{len}");
        cache.insert(&"x".repeat(LONGEST + 1), of("somebody", 100.0, &key), 10.0);
        assert!(cache.look(&"x".repeat(LONGEST + 1), 10.0).is_none());
        assert!(Cache::<Verified>::new(0).is_none());
    }

    #[test]
    fn what_is_of_use_stays_where_others_come_and_go() {
        let (cache, key) = (Cache::new(8).unwrap(), key());
        cache.insert("hot", of("somebody", 100.0, &key), 10.0);
        for number in 0..1000 {
            assert!(cache.look("hot", 10.0).is_some(), "{number}");
            cache.insert(&format!("{number}"), of("somebody", 100.0, &key), 10.0);
        }
    }

    #[test]
    fn a_token_that_comes_again_takes_no_second_place() {
        let (cache, key) = (Cache::new(8).unwrap(), key());
        for expires in [50.0, 100.0] {
            cache.insert("a", of("somebody", expires, &key), 10.0);
        }
        assert_eq!(cache.len(), 1);
        assert!(cache.look("a", 70.0).is_some());
    }

    #[test]
    fn threads_that_read_and_write_never_see_somebody_else() {
        let (cache, key) = (Cache::new(16).unwrap(), key());
        let work = |seed: u64| {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..20_000 {
                let name = random.u8(..64).to_string();
                match cache.look(&name, 10.0) {
                    Some(found) => assert_eq!(found.subject(), Some(name.as_str())),
                    None => cache.insert(&name, of(&name, 100.0, &key), 10.0),
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
