//! Drawing endpoints at random, each as often as its weight says.

/// Draws indices below a count.
#[derive(Debug)]
pub(crate) enum Draw {
    /// All weights are equal.
    Even(usize),
    /// The alias method (Walker 1974, Vose 1991): one draw, whatever the weights. Each column holds the share of its own
    /// index, and the index that has the rest.
    Weighted(Vec<(f32, u32)>),
}

impl Draw {
    pub(crate) fn new(weights: &[f64]) -> Self {
        let count = weights.len();
        if weights.windows(2).all(|pair| matches!(pair, [one, other] if one == other)) {
            return Self::Even(count);
        }
        let mean = weights.iter().sum::<f64>() / count as f64;
        let mut left: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..count).partition(|index| left.get(*index).is_some_and(|share| *share < 1.0));
        let mut columns = vec![(1.0, 0); count];
        while let (Some(little), Some(much)) = (small.pop(), large.pop()) {
            columns[little] = (left[little] as f32, much as u32);
            left[much] -= 1.0 - left[little];
            if left[much] < 1.0 { small.push(much) } else { large.push(much) }
        }
        Self::Weighted(columns)
    }

    /// One index; `random` gives a number below its argument.
    pub(crate) fn one(&self, random: &mut fastrand::Rng) -> usize {
        match self {
            Self::Even(count) => random.usize(..*count),
            Self::Weighted(columns) => {
                let index = random.usize(..columns.len());
                let (own, other) = columns[index];
                if random.f32() < own { index } else { other as usize }
            }
        }
    }

    /// Two indices, different where weights are even; drawn with replacement where they are not, so that a heavy one
    /// meets itself and keeps its share.
    pub(crate) fn two(&self, random: &mut fastrand::Rng) -> (usize, usize) {
        match self {
            Self::Even(count) if *count > 1 => {
                let first = random.usize(..*count);
                (first, (first + 1 + random.usize(..*count - 1)) % count)
            }
            _ => (self.one(random), self.one(random)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_is_drawn_as_often_as_its_weight_says(weights in proptest::collection::vec(1u32..100, 1..20), seed: u64) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let draw = Draw::new(&weights);
            let mut random = fastrand::Rng::with_seed(seed);
            let mut counts = vec![0.0; weights.len()];
            const DRAWS: usize = 20_000;
            for _ in 0..DRAWS {
                counts[draw.one(&mut random)] += 1.0;
            }
            let sum: f64 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(counts) {
                let expected = weight / sum * DRAWS as f64;
                // Six standard deviations of the binomial distribution.
                prop_assert!((count - expected).abs() < 6.0 * expected.sqrt() + 1.0, "{count} of {expected}");
            }
        }

        #[test]
        fn two_of_even_weight_are_different(count in 2usize..50, seed: u64) {
            let mut random = fastrand::Rng::with_seed(seed);
            let (one, other) = Draw::new(&vec![1.0; count]).two(&mut random);
            prop_assert!(one != other && one < count && other < count);
        }
    }
}
