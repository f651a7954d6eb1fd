//! How many seeds it takes to see a difference.

use super::{
    sample::Sample,
    student,
    variance::{Variance, satterthwaite},
};

/// The answer of [`seeds_needed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedsNeeded {
    Seeds(usize),
    /// No number of seeds is enough with these items: it takes more items.
    MoreItems,
    /// More than [`MOST`].
    TooMany,
    /// One seed, or one value, says nothing of how seeds vary.
    Unknown,
}

/// Beyond this many seeds nobody counts.
pub const MOST: usize = 1000;

/// The fewest seeds with which a two-sided t-test at `level` finds that the mean lies `difference` (in the unit of
/// the values) off a threshold with probability `power`, if seeds and items go on to vary as they do in the sample and
/// every further seed has the same items.
///
/// The test is that of [`super::Estimate`]: with `S` seeds the variance is a seed's part over `S` and the part of the
/// items, with Satterthwaite's degrees of freedom; the power is the noncentral t distribution's. The observed
/// variance is taken for the true one: from few seeds the answer is rough.
pub fn seeds_needed(sample: &Sample, difference: f64, level: f64, power: f64) -> SeedsNeeded {
    let v = Variance::of(sample);
    let seeds = v.seeds as f64;
    if v.seeds < 2 || difference == 0.0 || !difference.is_finite() {
        return SeedsNeeded::Unknown;
    }
    // A seed's own part, at least what is seen of its noise; what is left with any number of seeds.
    let (of_seed, of_items) = ((seeds * v.between).max(seeds * v.within - v.shared).max(0.0), v.shared);
    let reaches = |variance: f64, df: f64| {
        variance <= 0.0 || student::power(difference / variance.sqrt(), level, df) >= power
    };
    // With endless seeds what is left is the items' part, known as well as items are.
    if of_items > 0.0 && !reaches(of_items, v.items as f64 - 1.0) {
        return SeedsNeeded::MoreItems;
    }
    let enough = |s: usize| {
        let between = of_seed / s as f64;
        reaches(between + of_items, satterthwaite(between, between + of_items, s, v.items))
    };
    // More seeds have more power: halve the range in which it gets enough.
    let (mut too_few, mut most) = (1, MOST);
    if !enough(most) {
        return SeedsNeeded::TooMany;
    }
    while most - too_few > 1 {
        let middle = usize::midpoint(too_few, most);
        *(if enough(middle) { &mut most } else { &mut too_few }) = middle;
    }
    SeedsNeeded::Seeds(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::sample::tests::sample;

    #[test]
    fn seeds_alone_are_a_t_test() {
        // Seed means with a standard deviation of 1: the textbook's 10 for an effect of one standard deviation.
        let x = [-1.0, 0.0, 1.0];
        let of =
            |difference: f64, power: f64| seeds_needed(&sample(3, 20, |s, _| x[s]), difference, 0.05, power);
        assert_eq!(of(1.0, 0.8), SeedsNeeded::Seeds(10));
        assert_eq!(of(-1.0, 0.8), SeedsNeeded::Seeds(10));
        assert_eq!(of(0.5, 0.8), SeedsNeeded::Seeds(34));
        assert_eq!(of(0.01, 0.8), SeedsNeeded::TooMany);
    }

    #[test]
    fn items_may_be_too_few() {
        let of = |items, difference| {
            seeds_needed(&sample(3, items, |_, i| f64::from(i % 2)), difference, 0.05, 0.8)
        };
        // A standard error of 0.5 / √99 that no seed makes smaller.
        assert_eq!(of(100, 0.05), SeedsNeeded::MoreItems);
        assert!(matches!(of(10_000, 0.05), SeedsNeeded::Seeds(2..=3)));
    }

    #[test]
    fn what_does_not_vary_needs_no_more_and_one_seed_says_nothing() {
        assert_eq!(seeds_needed(&sample(2, 9, |_, _| 1.0), 0.05, 0.05, 0.8), SeedsNeeded::Seeds(2));
        assert_eq!(seeds_needed(&sample(1, 9, |_, i| f64::from(i)), 0.05, 0.05, 0.8), SeedsNeeded::Unknown);
        assert_eq!(seeds_needed(&sample(2, 9, |_, i| f64::from(i)), 0.0, 0.05, 0.8), SeedsNeeded::Unknown);
    }
}
