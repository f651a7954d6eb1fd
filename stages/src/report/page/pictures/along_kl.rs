//! Gold and proxy reward along training, against the square root of KL (Gao, Schulman and Hilton 2023, arXiv
//! 2210.10760, whose curves are functions of it): where the proxy goes on rising and gold does not, PPO over-optimizes.

use std::collections::BTreeMap;

use super::{Pictures, mean};
use crate::report::{
    chart::{Chart, Line, lines},
    curves::Curve,
    tables::split_title,
};

const SPLITS: [&str; 2] = ["in", "out"];
const X: &str = "square root of KL to the reference, \u{221a}nats";

impl Pictures<'_> {
    /// The curves of stage `overoptimization`, split by split.
    pub fn along_kl(&self) -> Vec<Chart> {
        let of_split = |split: &str| {
            let of = split_title(split);
            [
                self.along("gold", split, &format!("Gold along training, {of}"), "gold score", Curve::clone),
                self.along(
                    "proxy",
                    split,
                    &format!("Proxy along training, {of}"),
                    "change, share of the arm\u{2019}s largest",
                    share_of_largest_change,
                ),
            ]
        };
        SPLITS.into_iter().flat_map(of_split).flatten().collect()
    }

    /// Whether the arm has curves of stage `overoptimization`.
    pub fn is_overoptimized(&self, arm: &str) -> bool {
        let has = |split: &&str| {
            self.curves.of(self.task, &format!("kl_{split}")).is_some_and(|arms| arms.contains_key(arm))
        };
        SPLITS.iter().any(has)
    }

    fn along(
        &self,
        metric: &str,
        split: &str,
        title: &str,
        y: &str,
        shown: fn(&Curve) -> Curve,
    ) -> Option<Chart> {
        let values = self.curves.of(self.task, &format!("{metric}_{split}"))?;
        let kls = self.curves.of(self.task, &format!("kl_{split}"))?;
        let arms: Vec<_> =
            values.iter().filter_map(|(arm, c)| Some((arm, shown(c), kls.get(arm)?))).collect();
        let drawn: Vec<Line> = arms.iter().map(|(arm, y, kl)| self.path(arm, y, kl, square_root)).collect();
        let id = format!("along-{metric}-{split}");
        let labels = self.labels(&id, title, X, y, arms.iter().map(|(arm, ..)| *arm));
        (!drawn.is_empty()).then(|| lines(&labels, &drawn))
    }
}

/// Rounding may leave a KL of 0 just below it.
fn square_root(kl: f64) -> f64 {
    if kl < 0.0 { 0.0 } else { kl.sqrt() }
}

/// Proxies of different arms have different units: each is shown as its change from the first step, as a share of the
/// largest change, up or down, of the mean over seeds.
fn share_of_largest_change(curve: &Curve) -> Curve {
    let changes = |steps: &BTreeMap<u32, f64>| {
        let first = steps.values().next().copied().unwrap_or_default();
        steps.iter().map(|(step, value)| (*step, value - first)).collect()
    };
    let mut curve: Curve = curve.iter().map(|(seed, steps)| (seed.clone(), changes(steps))).collect();
    let sizes = mean(&curve).into_values().map(f64::abs).filter(|size| size.is_finite());
    let largest = sizes.fold(0.0, f64::max);
    if largest > 0.0 {
        curve.values_mut().flat_map(|steps| steps.values_mut()).for_each(|value| *value /= largest);
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Seed;

    fn curve(seeds: &[[f64; 3]]) -> Curve {
        let steps = |values: &[f64; 3]| (0..).zip(values.iter().copied()).collect();
        seeds.iter().enumerate().map(|(i, values)| (Seed::new(&i.to_string()), steps(values))).collect()
    }

    #[test]
    fn proxies_are_changes_and_reach_one() {
        let shown = share_of_largest_change(&curve(&[[5.0, 4.0, 3.0], [1.0, -2.0, -5.0]]));
        assert_eq!(shown, curve(&[[0.0, -0.25, -0.5], [0.0, -0.75, -1.5]]));
        assert_eq!(mean(&shown).into_values().collect::<Vec<_>>(), [0.0, -0.5, -1.0]);
    }

    #[test]
    fn a_proxy_that_does_not_move_stays_at_0() {
        assert_eq!(share_of_largest_change(&curve(&[[2.0; 3]])), curve(&[[0.0; 3]]));
        let shown = share_of_largest_change(&curve(&[[2.0, f64::NAN, 4.0]]));
        assert!(shown[&Seed::new("0")][&1].is_nan() && shown[&Seed::new("0")][&2] == 1.0);
    }

    #[test]
    fn a_root_of_less_than_nothing_is_0() {
        assert_eq!([-1e-9, 0.0, 4.0].map(square_root), [0.0, 0.0, 2.0]);
        assert!(square_root(f64::NAN).is_nan());
    }
}
