//! Consistent hashing: the same key, the same endpoint, whoever asks.
//!
//! Maglev's table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section
//! 3.4): a look-up is one read, and the shares are even to within a percent or two; a ring with as even shares needs a
//! thousand points for each endpoint and a search among them. The price: when endpoints come or go, a few keys move that
//! a ring would not have moved. From the entry of a key on, the table is also the order in which the next ones are asked
//! when an endpoint is unavailable, or has more than its bound.

/// Sizes of the table, all primes, so that every step visits every entry: the smallest one with a hundred entries for
/// each endpoint, as the paper advises; the last one for all counts above.
const SIZES: [usize; 4] = [1_021, 16_381, 65_537, 655_373];
/// What the paper found: a hundred entries for each keep the shares within one percent.
const ENTRIES: usize = 100;
const EMPTY: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Maglev {
    table: Vec<u32>,
}

impl Maglev {
    /// Of endpoints by their hashes and weights; the order must be the same for all clients.
    pub(crate) fn new(endpoints: &[(u64, f64)]) -> Self {
        if endpoints.is_empty() {
            return Self { table: Vec::new() };
        }
        let wanted = endpoints.len().saturating_mul(ENTRIES);
        let [.., largest] = SIZES;
        let size = SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(largest);
        let most = endpoints.iter().map(|(_, weight)| *weight).fold(f64::MIN_POSITIVE, f64::max);
        struct Turn {
            at: usize,
            step: usize,
            share: f64,
            credit: f64,
        }
        let mut turns: Vec<Turn> = endpoints
            .iter()
            .map(|(hash, weight)| Turn {
                at: (hash % size as u64) as usize,
                step: ((hash >> 32) % (size as u64 - 1)) as usize + 1,
                share: weight / most,
                credit: 0.0,
            })
            .collect();
        let mut table = vec![EMPTY; size];
        let mut left = size;
        loop {
            for (index, turn) in turns.iter_mut().enumerate() {
                // A lighter one sits out turns in proportion.
                turn.credit += turn.share;
                if turn.credit < 1.0 {
                    continue;
                }
                turn.credit -= 1.0;
                while table[turn.at] != EMPTY {
                    turn.at = (turn.at + turn.step) % size;
                }
                table[turn.at] = index as u32;
                left -= 1;
                if left == 0 {
                    return Self { table };
                }
            }
        }
    }

    /// The first `tries` endpoints in the order of the key `hash`; the same one can come several times.
    pub(crate) fn from(&self, hash: u64, tries: usize) -> impl Iterator<Item = usize> {
        let size = self.table.len();
        let start = hash.checked_rem(size as u64).unwrap_or(0) as usize;
        (0..tries.min(size)).map(move |step| self.table[(start + step) % size] as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::balance::key::{Key, hash};

    fn endpoints(names: impl IntoIterator<Item = u32>) -> Vec<(u64, f64)> {
        names.into_iter().map(|name| (hash(format!("http://10.0.0.{name}:80").as_bytes()), 1.0)).collect()
    }

    fn chosen(maglev: &Maglev, keys: u32) -> Vec<usize> {
        (0..keys).map(|key| maglev.from(Key::of(key.to_be_bytes()).hash(), 1).next().unwrap()).collect()
    }

    fn shares(chosen: &[usize]) -> HashMap<usize, f64> {
        let mut shares = HashMap::new();
        chosen.iter().for_each(|index| *shares.entry(*index).or_default() += 1.0 / chosen.len() as f64);
        shares
    }

    #[test]
    fn shares_are_even_and_follow_the_weights() {
        for count in [1, 3, 10, 100] {
            let chosen = chosen(&Maglev::new(&endpoints(0..count)), 100_000);
            let shares = shares(&chosen);
            assert_eq!(shares.len(), count as usize);
            for share in shares.into_values() {
                let ratio = share * f64::from(count);
                assert!((0.85..1.15).contains(&ratio), "{ratio} of {count}");
            }
        }
        let mut three = endpoints(0..3);
        three[1].1 = 2.0;
        let shares = shares(&chosen(&Maglev::new(&three), 100_000));
        assert!((0.48..0.52).contains(&shares[&1]), "{shares:?}");
    }

    #[test]
    fn few_keys_move_when_an_endpoint_goes() {
        let before = endpoints(0..20);
        let mut after = before.clone();
        after.remove(7);
        let moved = chosen(&Maglev::new(&before), 50_000)
            .into_iter()
            .zip(chosen(&Maglev::new(&after), 50_000))
            .filter(|(one, other)| *one != 7 && before[*one].0 != after[*other].0)
            .count();
        // Those of the one that went are 5 %; a plain remainder would move 95 % of the others.
        assert!(moved < 50_000 / 20, "{moved} of 50000 moved without need");
    }

    #[test]
    fn the_order_of_a_key_reaches_all_endpoints() {
        let maglev = Maglev::new(&endpoints(0..5));
        let mut reached: Vec<_> = maglev.from(Key::of("a").hash(), usize::MAX).collect();
        reached.sort_unstable();
        reached.dedup();
        assert_eq!(reached, [0, 1, 2, 3, 4]);
        assert_eq!(Maglev::new(&[]).from(7, 3).next(), None);
    }
}
