//! Values by seed and by item, and how two such samples are paired.

use std::collections::BTreeMap;

/// The mean of some values, summed in double precision; NaN of none.
pub fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), x| (sum + f64::from(x), n + 1));
    (sum / f64::from(n)) as f32
}

/// A seed's name; numbers sort as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(pub u64, pub String);

impl Seed {
    pub fn new(name: &str) -> Self {
        Self(name.parse().unwrap_or(u64::MAX), name.into())
    }
}

/// The values of one quantity: by seed, then by item. No seed is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample(pub BTreeMap<Seed, BTreeMap<u32, f64>>);

impl Sample {
    /// Each seed's mean.
    pub fn seed_means(&self) -> impl Iterator<Item = (&Seed, f64)> {
        self.0.iter().map(|(seed, items)| (seed, items.values().sum::<f64>() / items.len() as f64))
    }

    /// The mean of the seeds' means.
    pub fn mean(&self) -> f64 {
        self.seed_means().map(|(_, mean)| mean).sum::<f64>() / self.0.len() as f64
    }

    /// Every value multiplied.
    pub fn times(mut self, factor: f64) -> Self {
        self.0.values_mut().flat_map(|items| items.values_mut()).for_each(|x| *x *= factor);
        self
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
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Every seed with the same items.
    pub fn sample(seeds: usize, items: u32, value: impl Fn(usize, u32) -> f64) -> Sample {
        let items = |s: usize| (0..items).map(|i| (i, value(s, i))).collect();
        Sample((0..seeds).map(|s| (Seed::new(&s.to_string()), items(s))).collect())
    }

    #[test]
    fn differences_are_paired() {
        let a = sample(2, 30, |s, i| f64::from(i) + s as f64 + 0.5);
        let mut b = sample(2, 29, |s, i| f64::from(i) + s as f64);
        b.0.remove(&Seed::new("1"));
        let d = a.minus(&b);
        assert_eq!(d.0.len(), 1);
        assert_eq!(d.0[&Seed::new("0")].len(), 29);
        assert!(d.0[&Seed::new("0")].values().all(|x| (x - 0.5).abs() < 1e-12));
    }

    #[test]
    fn seeds_sort_as_numbers() {
        let mut seeds = ["10", "2", "b", "1", "a"].map(Seed::new);
        seeds.sort();
        assert_eq!(seeds.map(|s| s.1), ["1", "2", "10", "a", "b"]);
    }
}
