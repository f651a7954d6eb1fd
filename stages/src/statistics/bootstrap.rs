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
    /// Where no value differs from another: what is known of values not seen.
    unseen: Option<Unseen>,
}

/// Values that are all the same. What has not been seen in `items` independent ones can still be; nothing bounds it but
/// the bounds of what is measured.
#[derive(Clone, Copy, Debug)]
struct Unseen {
    items: f64,
    /// The least and the most that a value can be.
    bounds: Option<(f64, f64)>,
}

impl Unseen {
    /// The largest share of other values at which seeing none has the probability `tail` (C. J. Clopper and E. S.
    /// Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26(4),
    /// 1934; with 5 %, the rule of three).
    fn most(self, tail: f64) -> f64 {
        1.0 - tail.powf(1.0 / self.items)
    }

    /// The interval of a mean that stands at `value`, if all the other values are as far away as can be.
    fn interval(self, value: f64, tail: f64) -> Option<(f64, f64)> {
        let (least, most) = self.bounds?;
        let share = self.most(tail);
        Some((value - share * (value - least).max(0.0), value + share * (most - value).max(0.0)))
    }

    /// Two-sided p-value of the mean being `threshold`: [`Unseen::most`] the other way round.
    fn p_value(self, value: f64, threshold: f64) -> f64 {
        let Some((least, most)) = self.bounds else { return 1.0 };
        let room = if threshold < value { value - least } else { most - value };
        let share = if room > 0.0 { (threshold - value).abs() / room } else { 1.0 };
        (2.0 * (1.0 - share.min(1.0)).powf(self.items)).min(1.0)
    }
}

impl Sample {
    /// The mean and its interval at `confidence`, between 0 and 1; the same for the same seed, whatever else is
    /// estimated. `bounds` are the least and the most that a value can be, such as 0 and 1 for a share: the interval
    /// does not pass them.
    pub fn estimate(
        &self,
        resamples: usize,
        confidence: f64,
        seed: u64,
        bounds: Option<(f64, f64)>,
    ) -> Estimate {
        let variance = Variance::of(self);
        let (mean, standard_error, df) = (self.mean(), variance.total().sqrt(), variance.df());
        let values = self.0.values().map(|items| items.len()).sum();
        let tail = (1.0 - confidence) / 2.0;
        // Also where nothing but rounding varies.
        let unseen = (standard_error <= f64::EPSILON * mean.abs())
            .then_some(Unseen { items: variance.items as f64, bounds });
        let (low, high) = match unseen {
            Some(unseen) => unseen.interval(mean, tail).unwrap_or((mean, mean)),
            None => {
                let half = standard_error * student::quantile(1.0 - tail, df);
                let [below, above] = divide(half, mean, &self.replicates(resamples, seed), tail);
                let (least, most) = bounds.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
                ((mean - below).max(least.min(mean)), (mean + above).min(most.max(mean)))
            }
        };
        Estimate { mean, low, high, standard_error, df, seeds: self.0.len(), values, unseen }
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
    /// Whether there was anything to estimate an interval from: one value has none, and values that do not vary have
    /// none where nothing bounds what was not seen.
    pub fn has_interval(&self) -> bool {
        self.values > 1 && self.unseen.is_none_or(|unseen| unseen.bounds.is_some())
    }

    /// Two-sided p-value of the mean being `threshold`, by Student's t.
    pub fn p_value(&self, threshold: f64) -> f64 {
        match self.unseen {
            Some(unseen) => unseen.p_value(self.mean, threshold),
            None => student::p_value((self.mean - threshold) / self.standard_error, self.df),
        }
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
        let e = sample(1, 400, |_, i| x[i as usize]).estimate(4000, 0.95, 2, None);
        let mean = x.iter().sum::<f64>() / 400.0;
        let sd = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
        assert!((e.mean - mean).abs() < 1e-12);
        let half = 1.96 * sd / 20.0;
        assert!((e.low - (mean - half)).abs() < 0.1 * half, "{} {}", e.low, mean - half);
        assert!((e.high - (mean + half)).abs() < 0.1 * half, "{} {}", e.high, mean + half);
    }

    #[test]
    fn what_was_never_seen_is_not_impossible() {
        let none = sample(3, 4, |_, _| 0.0).estimate(200, 0.95, 1, Some((0.0, 1.0)));
        // 1 - 0.025^(1/4): with 60 % of something, four in a row without it come in 1 case of 40.
        assert!((none.low, none.mean) == (0.0, 0.0) && (none.high - 0.6024).abs() < 1e-4, "{none:?}");
        assert!((none.p_value(0.5) - 2.0 / 16.0).abs() < 1e-12 && none.p_value(0.0) == 1.0);
        let many = sample(3, 400, |_, _| 0.0).estimate(200, 0.95, 1, Some((-1.0, 1.0)));
        assert!((many.high - 0.0092).abs() < 1e-4 && many.low == -many.high, "{many:?}");
        assert!(many.p_value(0.05) < 1e-8);
        // On a bound nothing lies beyond it; 0.1 has no exact sum.
        let all = sample(2, 7, |_, _| 0.1).estimate(200, 0.95, 1, Some((0.0, 0.1)));
        assert!((all.high - 0.1).abs() < 1e-12 && all.p_value(0.2) < 1e-12, "{all:?}");
        let unbounded = sample(3, 20, |_, _| 0.25).estimate(200, 0.95, 1, None);
        assert_eq!((unbounded.has_interval(), unbounded.p_value(0.0)), (false, 1.0));
    }

    #[test]
    fn what_prompts_share_does_not_average_out_over_seeds() {
        // All variation is between items: five seeds that repeat it are worth no more than two, but for the
        // degrees of freedom, at most 4 and 16.
        let of = |seeds| {
            let e = sample(seeds, 50, |_, i| f64::from(i % 2)).estimate(2000, 0.95, 3, None);
            assert!((e.standard_error - 0.5 / 7.0).abs() < 1e-12);
            e.high - e.low
        };
        assert!((of(1) - 2.0 * 2.0096 * 0.5 / 7.0).abs() < 1e-4);
        assert!(of(2) / of(1) < 1.45 && of(5) / of(1) < 1.1, "{} {} {}", of(1), of(2), of(5));
        // All variation is between seeds: more items do not help.
        let of = |items| {
            let e = sample(6, items, |s, _| s as f64).estimate(2000, 0.95, 3, None);
            e.high - e.low
        };
        assert!((of(500) / of(5) - 1.0).abs() < 1e-9, "{} {}", of(500), of(5));
    }

    #[test]
    fn two_seeds_know_their_variance_with_one_degree_of_freedom() {
        // Seed means 0 and 1: a standard error of 1/2, times tan(0.475 π).
        let e = sample(2, 30, |s, _| s as f64).estimate(500, 0.95, 3, None);
        assert!((e.low - (0.5 - 6.3531)).abs() < 1e-3 && (e.high - (0.5 + 6.3531)).abs() < 1e-3, "{e:?}");
        assert!((e.p_value(0.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn intervals_lean_as_the_percentiles_do() {
        let rare = sample(1, 60, |_, i| f64::from(u8::from(i % 20 == 0))).estimate(2000, 0.95, 3, None);
        assert!(rare.high - rare.mean > 1.2 * (rare.mean - rare.low), "{rare:?}");
        let clipped =
            sample(1, 60, |_, i| f64::from(u8::from(i % 20 == 0))).estimate(2000, 0.95, 3, Some((0.0, 0.05)));
        assert!(clipped.low >= 0.0 && clipped.high == rare.mean, "{clipped:?}");
    }

    #[test]
    fn seeds_may_have_different_items() {
        let mut s = sample(2, 1, |_, _| 1.0);
        s.0.insert(Seed::new("9"), BTreeMap::from([(7, 4.0)]));
        let e = s.estimate(300, 0.95, 5, None);
        assert_eq!((e.mean, e.seeds, e.values, e.df), (2.0, 3, 3, 2.0));
        assert!((e.standard_error - 1.0).abs() < 1e-12);
        assert!((e.high - e.low - 2.0 * 4.3027).abs() < 1e-3, "{e:?}");
    }

    #[test]
    fn one_value_has_no_interval() {
        let e = sample(1, 1, |_, _| 3.0).estimate(100, 0.95, 5, None);
        assert_eq!((e.mean, e.low, e.high, e.has_interval()), (3.0, 3.0, 3.0, false));
    }
}
