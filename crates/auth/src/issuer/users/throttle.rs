//! Slows down whoever tries passwords: by user and by address, ever more with each try.
//!
//! It counts in this process: several processes allow several times as much.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The first wait, in seconds; each failure more doubles it.
const FIRST: u64 = 4;
const LONGEST: u64 = 15 * 60;
/// After so long without a try it is forgotten.
const FORGOTTEN: u64 = 2 * LONGEST;
const MOST: usize = 100_000;

#[derive(Debug)]
pub(super) struct Throttle {
    of_user: u32,
    /// 0 for none.
    of_address: u32,
    tries: Mutex<HashMap<Key, Tries>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    User(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    failed: u32,
    last: u64,
}

impl Tries {
    /// How long the next has to wait after `limit` failures.
    fn wait(self, limit: u32, now: u64) -> u64 {
        let Some(above) = self.failed.checked_sub(limit) else { return 0 };
        let wait = FIRST.saturating_mul(1 << above.min(20)).min(LONGEST);
        (self.last + wait).saturating_sub(now)
    }
}

impl Throttle {
    pub(super) fn new(of_user: u32, of_address: u32) -> Self {
        Self { of_user, of_address, tries: Mutex::default() }
    }

    /// Counts a try, or says how many seconds are left until the next one; those that come before don't count.
    pub(super) fn begin(&self, login: &str, address: Option<IpAddr>, now: u64) -> Result<(), u64> {
        let mut tries = self.tries();
        let keys = self.keys(login, address);
        let waits = keys.iter().filter_map(|(key, limit)| Some(tries.get(key)?.wait(*limit, now)));
        match waits.max() {
            None | Some(0) => {}
            Some(wait) => return Err(wait),
        }
        for (key, _) in keys {
            if tries.len() >= MOST {
                tries.retain(|_, tries| tries.last + FORGOTTEN > now);
            }
            if tries.len() >= MOST {
                // Whoever makes up users loses one of those.
                let some = tries.keys().next().cloned();
                some.map(|some| tries.remove(&some));
            }
            let entry = tries.entry(key).or_insert(Tries { failed: 0, last: now });
            if entry.last + FORGOTTEN <= now {
                entry.failed = 0;
            }
            *entry = Tries { failed: entry.failed.saturating_add(1), last: now };
        }
        Ok(())
    }

    /// The last try was none to be slowed down. Others from that address still count: one has a password of their own.
    pub(super) fn succeeded(&self, login: &str, address: Option<IpAddr>) {
        let mut tries = self.tries();
        for (key, _) in self.keys(login, address) {
            match (&key, tries.get_mut(&key)) {
                (Key::Address(_), Some(entry)) => entry.failed = entry.failed.saturating_sub(1),
                _ => drop(tries.remove(&key)),
            }
        }
    }

    fn keys(&self, login: &str, address: Option<IpAddr>) -> Vec<(Key, u32)> {
        let login = login.chars().take(200).collect();
        let address = address
            .filter(|_| self.of_address > 0)
            .map(|address| (Key::Address(network(address)), self.of_address));
        [(Key::User(login), self.of_user)].into_iter().chain(address).collect()
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<Key, Tries>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One household has 2^64 addresses of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_try_above_the_limit_waits_twice_as_long_up_to_a_bound() {
        let throttle = Throttle::new(3, 0);
        let mut now = 1000;
        for _ in 0..3 {
            assert_eq!(throttle.begin("ada", None, now), Ok(()));
        }
        for expected in [4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(throttle.begin("ada", None, now), Err(expected));
            assert_eq!(throttle.begin("ada", None, now + expected - 1), Err(1), "waiting does not count");
            now += expected;
            assert_eq!(throttle.begin("ada", None, now), Ok(()));
        }
        assert_eq!(throttle.begin("bob", None, now), Ok(()), "others don't wait");
        assert_eq!(throttle.begin("ada", None, now + FORGOTTEN), Ok(()));
        assert_eq!(throttle.begin("ada", None, now + FORGOTTEN), Ok(()), "it began anew");
    }

    #[test]
    fn who_gets_in_is_forgiven() {
        let throttle = Throttle::new(2, 0);
        for _ in 0..10 {
            assert_eq!(throttle.begin("ada", None, 0), Ok(()));
            throttle.succeeded("ada", None);
        }
    }

    #[test]
    fn one_address_that_tries_many_users_waits_and_so_does_its_network() {
        let throttle = Throttle::new(5, 10);
        let address = |text: &str| Some(text.parse().unwrap());
        for number in 0..10 {
            assert_eq!(throttle.begin(&format!("user{number}"), address("2001:db8::1"), 0), Ok(()));
            // A password of one's own in between is no way around.
            assert_eq!(throttle.begin("own", address("192.0.2.1"), 0), Ok(()));
            throttle.succeeded("own", address("192.0.2.1"));
        }
        assert!(throttle.begin("another", address("2001:db8::2"), 0).is_err());
        assert_eq!(throttle.begin("another", address("2001:db8:0:1::2"), 0), Ok(()));
        assert_eq!(throttle.begin("another", address("192.0.2.1"), 0), Ok(()));
    }

    #[test]
    fn made_up_users_take_no_more_than_their_place() {
        let throttle = Throttle::new(5, 0);
        for number in 0..MOST + 100 {
            assert_eq!(throttle.begin(&number.to_string(), None, 0), Ok(()));
        }
        assert_eq!(throttle.tries().len(), MOST);
    }
}
