//! The variance of a mean over seeds and items that are crossed, in its parts.

use std::collections::BTreeMap;

use super::sample::Sample;

/// Estimates of the parts of the variance of a sample's mean, in the squared unit of its values.
///
/// With `x_si = μ + a_s + b_i + e_si` the variance is `σa²/S + σb²/I + σe²/(SI)`. Where every seed has the same
/// items these are the estimates of the two-way analysis of variance: `between` is `MS_a / (SI)` and `shared` is
/// `(MS_b - MS_e) / (SI)`. Where seeds share no item, nothing is `shared`, and this is a cluster-robust variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variance {
    /// The variance of the seeds' means, over their number: σa²/S + σe²/(SI). 0 with one seed.
    pub between: f64,
    /// The mean covariance of two seeds' means, which shared items give them: σb²/I, what more seeds do not help
    /// against. 0 with one seed.
    pub shared: f64,
    /// What the variance would be if seeds differed by their items and noise alone: (σb² + σe²)/(SI).
    pub within: f64,
    pub seeds: usize,
    /// Different items in all seeds together.
    pub items: usize,
}

impl Variance {
    pub fn of(sample: &Sample) -> Self {
        let seeds = sample.0.len();
        let s = seeds as f64;
        let mean = sample.mean();
        let (mut between, mut within) = (0.0, 0.0);
        // Of each item: the sum of its weighted residuals, and the sum of their squares.
        let mut residuals: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for ((_, seed_mean), values) in sample.seed_means().zip(sample.0.values()) {
            let n = values.len() as f64;
            between += (seed_mean - mean).powi(2);
            for (item, value) in values {
                let weighted = (value - seed_mean) / (s * n);
                let (sum, squares) = residuals.entry(*item).or_default();
                *sum += weighted;
                *squares += weighted * weighted;
                if n > 1.0 {
                    within += weighted * weighted * n / (n - 1.0);
                }
            }
        }
        let items = residuals.len();
        let n = items as f64;
        let products: f64 = residuals.values().map(|(sum, squares)| sum * sum - squares).sum();
        let crossed = seeds > 1 && items > 1;
        Self {
            between: if seeds > 1 { between / (s * (s - 1.0)) } else { 0.0 },
            shared: if crossed { (products * s / (s - 1.0) * n / (n - 1.0)).max(0.0) } else { 0.0 },
            within,
            seeds,
            items,
        }
    }

    /// The variance of the mean. Seeds that agree by luck more than their noise allows do not make it smaller
    /// than that noise.
    pub fn total(&self) -> f64 {
        let s = self.seeds as f64;
        (self.between + self.shared).max(self.within + self.shared * (s - 1.0) / s)
    }

    /// Degrees of freedom of [`Variance::total`] by Satterthwaite, see the [module above](super).
    pub fn df(&self) -> f64 {
        satterthwaite(self.between, self.total(), self.seeds, self.items)
    }
}

/// Degrees of freedom of `total`, of which `between` is known from seeds and the rest from items. The seeds count
/// for half of it at least.
pub fn satterthwaite(between: f64, total: f64, seeds: usize, items: usize) -> f64 {
    let [of_seeds, of_items] = [seeds, items].map(|n| n as f64 - 1.0);
    if seeds < 2 || items < 2 || total <= 0.0 {
        return if seeds < 2 { of_items } else { of_seeds };
    }
    let (guarded, rest) = (between.max(total / 2.0) / total, (total - between) / total);
    let df = 1.0 / (guarded * guarded / of_seeds + rest * rest / of_items);
    df.max(of_seeds.min(of_items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::sample::{Seed, tests::sample};

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12 * a.abs().max(b.abs()).max(1.0)
    }

    #[test]
    fn crossed_samples_give_the_mean_squares() {
        // Two seeds, three items: seed means 2 and 4, item means 1, 4, 4, residuals ±1, 0, ∓1.
        let x = [[1.0, 3.0, 2.0], [1.0, 5.0, 6.0]];
        let v = Variance::of(&sample(2, 3, |s, i| x[s][i as usize]));
        let (a, b, e) = (6.0, 2.0 * (4.0 + 1.0 + 1.0) / 2.0, 2.0 * (1.0 + 0.0 + 1.0) / 2.0);
        assert!(close(v.between, a / 6.0), "{v:?}");
        assert!(close(v.shared, (b - e) / 6.0), "{v:?}");
        assert!(close(v.within, (b + e) / 2.0 / 6.0), "{v:?}");
        assert!(close(v.total(), (a + b - e) / 6.0), "{v:?}");
    }

    #[test]
    fn one_seed_is_a_simple_sample() {
        let v = Variance::of(&sample(1, 4, |_, i| f64::from(i)));
        assert!(close(v.total(), 5.0 / 3.0 / 4.0));
        assert_eq!((v.df(), v.between, v.shared), (3.0, 0.0, 0.0));
    }

    #[test]
    fn one_item_leaves_the_seeds() {
        let v = Variance::of(&sample(4, 1, |s, _| s as f64));
        assert!(close(v.total(), 5.0 / 3.0 / 4.0));
        assert_eq!((v.df(), v.shared, v.within), (3.0, 0.0, 0.0));
    }

    #[test]
    fn items_of_one_seed_each_are_shared_by_none() {
        let mut s = sample(1, 3, |_, i| f64::from(i));
        s.0.insert(Seed::new("1"), [(7, 1.0), (8, 4.0)].into());
        let v = Variance::of(&s);
        assert!(close(v.between, (0.75 * 0.75 + 0.75 * 0.75) / 2.0), "{v:?}");
        assert_eq!((v.shared, v.items), (0.0, 5));
        assert!(close(v.within, (1.0 / 3.0 + 4.5 / 2.0) / 4.0), "{v:?}");
    }

    #[test]
    fn seeds_that_agree_by_luck_do_not_lend_certainty() {
        // Seed means are equal, and so are items' means: all that is seen is noise.
        let v = Variance::of(&sample(2, 40, |s, i| f64::from((i + s as u32) % 2)));
        assert!(close(v.between, 0.0) && v.shared == 0.0, "{v:?}");
        assert!(close(v.total(), 0.25 / 39.0 / 2.0), "{v:?}");
        // One seed's degree of freedom on half of the variance, 39 of items on the whole.
        assert!(close(v.df(), 1.0 / (0.25 + 1.0 / 39.0)), "{}", v.df());
    }

    #[test]
    fn degrees_of_freedom_lie_between_those_of_the_parts() {
        assert_eq!(satterthwaite(1.0, 1.0, 5, 100), 4.0);
        assert!(satterthwaite(0.0, 1.0, 5, 1_000_000) <= 16.0);
        assert!(satterthwaite(0.5, 1.0, 2, 2) >= 1.0);
        assert_eq!(satterthwaite(0.0, 0.0, 3, 9), 2.0);
        assert_eq!(satterthwaite(0.0, 1.0, 1, 9), 8.0);
    }
}
