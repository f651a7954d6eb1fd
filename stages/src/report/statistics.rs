//! Means with bootstrap intervals, clustered by seed and by item, and Holm's correction.
//!
//! Arms are measured on the same items with several seeds, so neither may be taken for independent
//! observations. Each resample draws seeds with replacement, and items with replacement once for all seeds
//! (A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007). Where items of different
//! seeds have nothing to do with each other this is still a cluster bootstrap, and holds.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seed's name; numbers sort as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(u64, pub String);

impl Seed {
    pub fn new(name: &str) -> Self {
        Self(name.parse().unwrap_or(u64::MAX), name.into())
    }
}

/// The values of one quantity: by seed, then by item. No seed is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample(pub BTreeMap<Seed, BTreeMap<u32, f64>>);

/// A mean with its uncertainty.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// The mean of the seeds' means.
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    pub seeds: usize,
    /// Values in all seeds together.
    pub values: usize,
    /// The resamples' means, sorted.
    replicates: Vec<f64>,
}

impl Sample {
    /// Each seed's mean.
    pub fn seed_means(&self) -> impl Iterator<Item = (&Seed, f64)> {
        self.0.iter().map(|(seed, items)| (seed, items.values().sum::<f64>() / items.len() as f64))
    }

    pub fn mean(&self) -> f64 {
        self.seed_means().map(|(_, mean)| mean).sum::<f64>() / self.0.len() as f64
    }

    /// `self - other` where both have the same seed and item.
    pub fn minus(&self, other: &Self) -> Self {
        let mut difference = Self::default();
        for (seed, items) in &self.0 {
            let Some(others) = other.0.get(seed) else { continue };
            let paired = items.iter().filter_map(|(i, x)| Some((*i, x - others.get(i)?)));
            let paired: BTreeMap<u32, f64> = paired.collect();
            if !paired.is_empty() {
                difference.0.insert(seed.clone(), paired);
            }
        }
        difference
    }

    /// The mean and its percentile interval; the same for the same seed, whatever else is estimated.
    pub fn estimate(&self, resamples: usize, confidence: f64, seed: u64) -> Estimate {
        let items: BTreeSet<u32> = self.0.values().flat_map(|items| items.keys().copied()).collect();
        let seeds: Vec<Vec<Option<f64>>> =
            self.0.values().map(|values| items.iter().map(|i| values.get(i).copied()).collect()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut replicates: Vec<f64> =
            (0..resamples).map(|_| replicate(&seeds, items.len(), &mut rng)).collect();
        replicates.sort_by(f64::total_cmp);
        let tail = (1.0 - confidence) / 2.0;
        Estimate {
            mean: self.mean(),
            low: quantile(&replicates, tail),
            high: quantile(&replicates, 1.0 - tail),
            seeds: self.0.len(),
            values: self.0.values().map(BTreeMap::len).sum(),
            replicates,
        }
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
    /// Whether there was anything to resample: one value of one seed has no interval.
    pub fn has_interval(&self) -> bool {
        self.values > 1
    }

    /// Two-sided bootstrap p-value of the mean being `threshold`; at least 2 / (resamples + 1).
    pub fn p_value(&self, threshold: f64) -> f64 {
        let below = self.replicates.partition_point(|r| *r <= threshold);
        let above = self.replicates.len() - self.replicates.partition_point(|r| *r < threshold);
        let fewer = below.min(above) as f64;
        (2.0 * (fewer + 1.0) / (self.replicates.len() as f64 + 1.0)).min(1.0)
    }
}

/// p-values corrected for being several (S. Holm, "A simple sequentially rejective multiple test procedure",
/// Scandinavian Journal of Statistics 6(2), 1979), in the order given.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![0.0; p.len()];
    let mut largest = 0.0_f64;
    for (rank, i) in order.into_iter().enumerate() {
        largest = largest.max(((p.len() - rank) as f64 * p[i]).min(1.0));
        corrected[i] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seeds: usize, items: u32, value: impl Fn(usize, u32) -> f64) -> Sample {
        let items = |s: usize| (0..items).map(|i| (i, value(s, i))).collect();
        Sample((0..seeds).map(|s| (Seed::new(&s.to_string()), items(s))).collect())
    }

    /// Nearly normal: a sum of twelve uniform numbers.
    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
    }

    #[test]
    fn many_values_give_the_normal_interval() {
        let x: Vec<f64> = {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            (0..400).map(|_| normal(&mut rng)).collect()
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
        assert_eq!(e.p_value(0.25), 1.0);
        assert!(e.p_value(0.0) < 0.011);
    }

    #[test]
    fn what_prompts_share_does_not_average_out_over_seeds() {
        // All variation is between items: ten seeds that repeat it are worth no more than one.
        let of = |seeds| {
            let e = sample(seeds, 50, |_, i| f64::from(i % 2)).estimate(2000, 0.95, 3);
            e.high - e.low
        };
        assert!((of(10) / of(1) - 1.0).abs() < 0.1, "{} {}", of(10), of(1));
        // All variation is between seeds: more items do not help.
        let of = |items| {
            let e = sample(6, items, |s, _| s as f64).estimate(2000, 0.95, 3);
            e.high - e.low
        };
        assert!((of(500) / of(5) - 1.0).abs() < 0.15, "{} {}", of(500), of(5));
    }

    #[test]
    fn intervals_cover_what_they_promise() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (trials, truth) = (200, 1.0);
        let covered = (0..trials).filter(|t| {
            let (by_seed, by_item): (Vec<f64>, Vec<f64>) =
                ((0..20).map(|_| normal(&mut rng)).collect(), (0..40).map(|_| normal(&mut rng)).collect());
            let noise: Vec<f64> = (0..800).map(|_| normal(&mut rng)).collect();
            let x = |s: usize, i: u32| truth + by_seed[s] + by_item[i as usize] + noise[s * 40 + i as usize];
            let e = sample(20, 40, x).estimate(400, 0.95, *t);
            e.low <= truth && truth <= e.high
        });
        let share = covered.count() as f64 / trials as f64;
        assert!((0.88..=0.99).contains(&share), "{share}");
    }

    #[test]
    fn seeds_may_have_different_items() {
        let mut s = sample(2, 1, |_, _| 1.0);
        s.0.insert(Seed::new("9"), BTreeMap::from([(7, 4.0)]));
        let e = s.estimate(300, 0.95, 5);
        assert_eq!((e.mean, e.seeds, e.values), (2.0, 3, 3));
        assert!(e.low >= 1.0 && e.high <= 4.0);
    }

    #[test]
    fn differences_are_paired() {
        let a = sample(2, 30, |s, i| f64::from(i) + s as f64 + 0.5);
        let mut b = sample(2, 29, |s, i| f64::from(i) + s as f64);
        b.0.remove(&Seed::new("1"));
        let d = a.minus(&b);
        assert_eq!(d.0.len(), 1);
        assert!(d.0[&Seed::new("0")].values().all(|x| (x - 0.5).abs() < 1e-12));
    }

    #[test]
    fn holm_steps_down() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[0.6, 0.9]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn seeds_sort_as_numbers() {
        let mut seeds = ["10", "2", "b", "1", "a"].map(Seed::new);
        seeds.sort();
        assert_eq!(seeds.map(|s| s.1), ["1", "2", "10", "a", "b"]);
    }
}
