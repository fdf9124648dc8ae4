//! Which endpoint: the power of two choices.
//!
//! Two endpoints are drawn, the one with the lower cost is taken (Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 2001): nearly as even as asking all, without the herd that follows the best one. The
//! cost is requests in flight times latency ([`ewma`]); endpoints that fail are passed over for a while ([`health`]).

pub(crate) mod ewma;
pub(crate) mod health;

/// What is chosen from. A candidate is asked about itself only when it is drawn, so a choice costs the same among two
/// and among ten thousand.
pub(crate) trait Candidate {
    /// Whether it should get requests now.
    fn is_available(&self) -> bool;

    /// The lower, the better; compared between candidates only.
    fn cost(&self) -> f64;
}

/// How often two are drawn before all are looked at.
const DRAWS: usize = 3;

/// The index of one of `candidates`; `None` only if there are none. Those that `skip` says were tried already, or that
/// are not available, are chosen only when no other is left: an endpoint that may fail is better than none.
pub(crate) fn choose<C: Candidate>(
    candidates: &[C],
    mut random: impl FnMut(usize) -> usize,
    skip: impl Fn(usize) -> bool,
) -> Option<usize> {
    let usable = |index: usize| !skip(index) && candidates[index].is_available();
    let cheaper = |a: usize, b: usize| if candidates[b].cost() < candidates[a].cost() { b } else { a };
    let count = candidates.len();
    if count < 2 {
        return (count == 1).then_some(0);
    }
    for _ in 0..DRAWS {
        let first = random(count);
        // Distinct from the first, each as likely.
        let second = (first + 1 + random(count - 1)) % count;
        match (usable(first), usable(second)) {
            (true, true) => return Some(cheaper(first, second)),
            (true, false) => return Some(first),
            (false, true) => return Some(second),
            (false, false) => {}
        }
    }
    // From a random place on, so that the neighbour of a row of failing ones does not get all of their requests.
    let start = random(count);
    let around = |wanted: &dyn Fn(usize) -> bool| {
        (0..count).map(|step| (start + step) % count).find(|index| wanted(*index))
    };
    around(&usable)
        .or_else(|| around(&|index| !skip(index)))
        .or_else(|| Some(cheaper(start, (start + 1) % count)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Fake {
        available: bool,
        cost: f64,
    }

    impl Candidate for Fake {
        fn is_available(&self) -> bool {
            self.available
        }

        fn cost(&self) -> f64 {
            self.cost
        }
    }

    fn fakes() -> impl Strategy<Value = Vec<(Fake, bool)>> {
        let fake = (any::<bool>(), 0.0..1e9f64, any::<bool>());
        let fake = fake.prop_map(|(available, cost, tried)| (Fake { available, cost }, tried));
        proptest::collection::vec(fake, 0..12)
    }

    impl std::fmt::Debug for Fake {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}{}", if self.available { "" } else { "!" }, self.cost)
        }
    }

    proptest! {
        #[test]
        fn the_best_class_that_is_left_is_chosen(all in fakes(), seed: u64) {
            let (fakes, tried): (Vec<_>, Vec<_>) = all.into_iter().unzip();
            let mut random = fastrand::Rng::with_seed(seed);
            let chosen = choose(&fakes, |count| random.usize(..count), |index| tried[index]);
            let Some(chosen) = chosen else {
                prop_assert!(fakes.is_empty());
                return Ok(());
            };
            let class = |index: usize| match (tried[index], fakes[index].available) {
                (false, true) => 0,
                (false, false) => 1,
                (true, _) => 2,
            };
            // One alone is chosen whatever it is.
            let best = (0..fakes.len()).map(class).min();
            prop_assert!(fakes.len() == 1 || Some(class(chosen)) == best);
        }

        #[test]
        fn the_most_costly_of_available_ones_is_never_chosen(costs in proptest::collection::hash_set(0u32.., 2..10), seed: u64) {
            let fakes: Vec<_> = costs.iter().map(|cost| Fake { available: true, cost: f64::from(*cost) }).collect();
            let mut random = fastrand::Rng::with_seed(seed);
            let chosen = choose(&fakes, |count| random.usize(..count), |_| false).unwrap();
            let most = costs.iter().max().unwrap();
            prop_assert!(fakes[chosen].cost < f64::from(*most));
        }
    }
}
