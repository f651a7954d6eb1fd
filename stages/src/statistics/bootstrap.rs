//! Means with intervals and p-values: a bootstrap, clustered by seed and by item, widened to Student's t.
//!
//! Each resample draws seeds with replacement, and items with replacement once for all seeds (Owen's pigeonhole
//! bootstrap). Where items of different seeds have nothing to do with each other this is still a cluster
//! bootstrap. The [module above](super) says what is made of it, and why.

use std::collections::BTreeSet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{sample::Sample, student, variance::Variance};

/// A mean with its uncertainty.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// The mean of the seeds' means.
    pub mean: f64,
    /// The interval's bounds.
    pub low: f64,
    pub high: f64,
    pub standard_error: f64,
    /// Degrees of freedom of the standard error; 0 where there is one value.
    pub df: f64,
    pub seeds: usize,
    /// Values in all seeds together.
    pub values: usize,
}

impl Sample {
    /// The mean and its interval at `confidence`, between 0 and 1; the same for the same seed, whatever else is
    /// estimated.
    pub fn estimate(&self, resamples: usize, confidence: f64, seed: u64) -> Estimate {
        let variance = Variance::of(self);
        let (mean, standard_error, df) = (self.mean(), variance.total().sqrt(), variance.df());
        let values = self.0.values().map(|items| items.len()).sum();
        let tail = (1.0 - confidence) / 2.0;
        let half = if values > 1 && standard_error > 0.0 {
            standard_error * student::quantile(1.0 - tail, df)
        } else {
            0.0
        };
        let [below, above] =
            if half > 0.0 { divide(half, mean, &self.replicates(resamples, seed), tail) } else { [0.0; 2] };
        let (low, high) = (mean - below, mean + above);
        Estimate { mean, low, high, standard_error, df, seeds: self.0.len(), values }
    }

    /// The resamples' means, sorted.
    fn replicates(&self, resamples: usize, seed: u64) -> Vec<f64> {
        let items: BTreeSet<u32> = self.0.values().flat_map(|items| items.keys().copied()).collect();
        let seeds: Vec<Vec<Option<f64>>> =
            self.0.values().map(|values| items.iter().map(|i| values.get(i).copied()).collect()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut replicates: Vec<f64> =
            (0..resamples).map(|_| replicate(&seeds, items.len(), &mut rng)).collect();
        replicates.sort_by(f64::total_cmp);
        replicates
    }
}

/// The widths below and above the mean: twice `half` together, in the proportion of the percentiles' distances.
fn divide(half: f64, mean: f64, replicates: &[f64], tail: f64) -> [f64; 2] {
    if replicates.is_empty() {
        return [half; 2];
    }
    let below = (mean - quantile(replicates, tail)).max(0.0);
    let above = (quantile(replicates, 1.0 - tail) - mean).max(0.0);
    if below + above > 0.0 {
        [below, above].map(|part| 2.0 * half * part / (below + above))
    } else {
        [half; 2]
    }
}

/// The mean of one resample. A seed that has none of the items drawn is left out; if that leaves nothing, the
/// draw is repeated.
fn replicate(seeds: &[Vec<Option<f64>>], items: usize, rng: &mut ChaCha8Rng) -> f64 {
    loop {
        let mut weights = vec![0_u32; items];
        for _ in 0..items {
            weights[rng.random_range(0..items)] += 1;
        }
        let (mut sum, mut n) = (0.0, 0);
        for _ in 0..seeds.len() {
            let values = &seeds[rng.random_range(0..seeds.len())];
            let (mut total, mut weight) = (0.0, 0);
            for (value, w) in values.iter().zip(&weights) {
                if let Some(value) = value {
                    total += f64::from(*w) * value;
                    weight += w;
                }
            }
            if weight > 0 {
                sum += total / f64::from(weight);
                n += 1;
            }
        }
        if n > 0 {
            return sum / f64::from(n);
        }
    }
}

/// Linear interpolation between order statistics.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}

impl Estimate {
    /// Whether there was anything to estimate an interval from: one value of one seed has none.
    pub fn has_interval(&self) -> bool {
        self.values > 1
    }

    /// Two-sided p-value of the mean being `threshold`, by Student's t. Values that do not vary at all leave no
    /// doubt: 1 on the threshold, 0 off it.
    pub fn p_value(&self, threshold: f64) -> f64 {
        let distance = self.mean - threshold;
        // Also where nothing but rounding varies.
        if self.standard_error <= f64::EPSILON * self.mean.abs() {
            return if distance.abs() <= f64::EPSILON * self.mean.abs() { 1.0 } else { 0.0 };
        }
        student::p_value(distance / self.standard_error, self.df)
    }

    /// With bounds that do not pass what the mean can be, such as 0 and 1 for a share.
    pub fn within(mut self, bounds: Option<(f64, f64)>) -> Self {
        if let Some((least, most)) = bounds {
            self.low = self.low.max(least.min(self.mean));
            self.high = self.high.min(most.max(self.mean));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::statistics::sample::{Seed, tests::sample};

    #[test]
    fn many_values_give_the_normal_interval() {
        let x: Vec<f64> = {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            (0..400).map(|_| (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0).collect()
        };
        let e = sample(1, 400, |_, i| x[i as usize]).estimate(4000, 0.95, 2);
        let mean = x.iter().sum::<f64>() / 400.0;
        let sd = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
        assert!((e.mean - mean).abs() < 1e-12);
        let half = 1.96 * sd / 20.0;
        assert!((e.low - (mean - half)).abs() < 0.1 * half, "{} {}", e.low, mean - half);
        assert!((e.high - (mean + half)).abs() < 0.1 * half, "{} {}", e.high, mean + half);
    }

    #[test]
    fn constant_values_have_no_width() {
        let e = sample(3, 20, |_, _| 0.25).estimate(200, 0.95, 1);
        assert_eq!((e.mean, e.low, e.high), (0.25, 0.25, 0.25));
        assert_eq!((e.p_value(0.25), e.p_value(0.0)), (1.0, 0.0));
        // 0.1 has no exact sum.
        let e = sample(3, 7, |_, _| 0.1).estimate(200, 0.95, 1);
        assert_eq!((e.p_value(0.1), e.p_value(0.2)), (1.0, 0.0));
    }

    #[test]
    fn what_prompts_share_does_not_average_out_over_seeds() {
        // All variation is between items: five seeds that repeat it are worth no more than two, but for the
        // degrees of freedom, at most 4 and 16.
        let of = |seeds| {
            let e = sample(seeds, 50, |_, i| f64::from(i % 2)).estimate(2000, 0.95, 3);
            assert!((e.standard_error - 0.5 / 7.0).abs() < 1e-12);
            e.high - e.low
        };
        assert!((of(1) - 2.0 * 2.0096 * 0.5 / 7.0).abs() < 1e-4);
        assert!(of(2) / of(1) < 1.45 && of(5) / of(1) < 1.1, "{} {} {}", of(1), of(2), of(5));
        // All variation is between seeds: more items do not help.
        let of = |items| {
            let e = sample(6, items, |s, _| s as f64).estimate(2000, 0.95, 3);
            e.high - e.low
        };
        assert!((of(500) / of(5) - 1.0).abs() < 1e-9, "{} {}", of(500), of(5));
    }

    #[test]
    fn two_seeds_know_their_variance_with_one_degree_of_freedom() {
        // Seed means 0 and 1: a standard error of 1/2, times tan(0.475 π).
        let e = sample(2, 30, |s, _| s as f64).estimate(500, 0.95, 3);
        assert!((e.low - (0.5 - 6.3531)).abs() < 1e-3 && (e.high - (0.5 + 6.3531)).abs() < 1e-3, "{e:?}");
        assert!((e.p_value(0.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn intervals_lean_as_the_percentiles_do() {
        let rare = sample(1, 60, |_, i| f64::from(u8::from(i % 20 == 0))).estimate(2000, 0.95, 3);
        assert!(rare.high - rare.mean > 1.2 * (rare.mean - rare.low), "{rare:?}");
        let clipped = rare.clone().within(Some((0.0, 0.05)));
        assert!(clipped.low >= 0.0 && clipped.high == rare.mean, "{clipped:?}");
    }

    #[test]
    fn seeds_may_have_different_items() {
        let mut s = sample(2, 1, |_, _| 1.0);
        s.0.insert(Seed::new("9"), BTreeMap::from([(7, 4.0)]));
        let e = s.estimate(300, 0.95, 5);
        assert_eq!((e.mean, e.seeds, e.values, e.df), (2.0, 3, 3, 2.0));
        assert!((e.standard_error - 1.0).abs() < 1e-12);
        assert!((e.high - e.low - 2.0 * 4.3027).abs() < 1e-3, "{e:?}");
    }

    #[test]
    fn one_value_has_no_interval() {
        let e = sample(1, 1, |_, _| 3.0).estimate(100, 0.95, 5);
        assert_eq!((e.mean, e.low, e.high, e.has_interval()), (3.0, 3.0, 3.0, false));
    }
}
