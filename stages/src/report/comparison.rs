//! What a claim compares: its values, seed by seed and item by item, and how it reads.

use super::{
    metric::Metric,
    observations::{Cell, Observations},
    params::{Comparison, Difference},
    unit::Unit,
};
use crate::statistics::Sample;

impl Comparison {
    /// Whether a value lies on the expected side; on the threshold it lies on neither.
    pub fn side(&self, value: f64) -> Option<bool> {
        let threshold = self.threshold();
        (value != threshold).then_some((value > threshold) == self.expects_above())
    }

    /// The cell whose interval this is, where it is the mean of one; otherwise one of a name that no cell has.
    pub fn cell(&self, task: &str, split: &str) -> Cell {
        let join = |a: &str, b: &Option<String>| b.as_ref().map_or(a.into(), |b| format!("{:?}", (a, b)));
        let mut arm = join(&self.arm, &self.baseline);
        if self.factor != 1.0 || self.less.is_some() {
            let less = self.less.as_ref().map(|Difference { arm, baseline }| (arm, baseline));
            arm = format!("{:?}", (arm, self.factor, less));
        }
        Cell { task: task.into(), arm, split: split.into(), metric: join(&self.metric, &self.minus) }
    }

    /// The values compared with the threshold, or why there are none.
    pub fn sample(&self, all: &Observations, task: &str, split: &str) -> Result<Sample, String> {
        let get = |arm: &str, metric: &str| {
            all.get(task, arm, split, metric).cloned().ok_or_else(|| {
                let of = |s: &str| s.to_string();
                all.why_missing(&Cell { task: of(task), arm: of(arm), split: of(split), metric: of(metric) })
            })
        };
        let of_arm = |arm: &str| match &self.minus {
            None => get(arm, &self.metric),
            Some(minus) => Ok(get(arm, &self.metric)?.minus(&get(arm, minus)?)),
        };
        let difference = |arm: &str, baseline: &str| -> Result<Sample, String> {
            Ok(of_arm(arm)?.minus(&of_arm(baseline)?.times(self.factor)))
        };
        let sample = match (&self.baseline, &self.less) {
            (None, _) => of_arm(&self.arm)?,
            (Some(baseline), None) => difference(&self.arm, baseline)?,
            (Some(baseline), Some(less)) => {
                difference(&self.arm, baseline)?.minus(&difference(&less.arm, &less.baseline)?)
            }
        };
        if sample.0.is_empty() {
            return Err("what is compared shares no seed and item".into());
        }
        Ok(sample)
    }

    /// Of what is compared with the threshold.
    pub fn unit(&self) -> Unit {
        let unit = Metric::of(&self.metric).unit;
        if self.minus.is_some() || self.baseline.is_some() { unit.of_difference() } else { unit }
    }

    /// The least and the most that its mean can be, where its metrics have bounds.
    pub fn bounds(&self) -> Option<(f64, f64)> {
        let subtract = |(a, b): (f64, f64), (least, most): (f64, f64)| (a - most, b - least);
        let mut bounds = Metric::of(&self.metric).unit.bounds()?;
        if let Some(minus) = &self.minus {
            bounds = subtract(bounds, Metric::of(minus).unit.bounds()?);
        }
        if self.baseline.is_some() {
            bounds = subtract(bounds, (self.factor * bounds.0, self.factor * bounds.1));
        }
        Some(if self.less.is_some() { subtract(bounds, bounds) } else { bounds })
    }

    /// `gold score minus gold by chance of sft, above 0`.
    pub fn words(&self) -> String {
        let mut words = Metric::of(&self.metric).title;
        if let Some(minus) = &self.minus {
            words += &format!(" minus {}", Metric::of(minus).title);
        }
        let times = if self.factor == 1.0 { String::new() } else { format!("{} times ", self.factor) };
        words += &match (&self.baseline, &self.less) {
            (None, _) => format!(" of {}", self.arm),
            (Some(baseline), None) => format!(" of {} minus {times}that of {baseline}", self.arm),
            (Some(baseline), Some(Difference { arm, baseline: other })) => {
                format!(": ({} minus {times}{baseline}) minus ({arm} minus {times}{other})", self.arm)
            }
        };
        let side = if self.expects_above() { "above" } else { "below" };
        format!("{words}, {side} {}", self.unit().threshold(self.threshold()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(value: serde_json::Value) -> Comparison {
        serde_json::from_value(value).expect("a comparison")
    }

    #[test]
    fn comparisons_read_well() {
        for (value, words, bounds) in [
            (
                serde_json::json!({ "metric": "refusal", "arm": "a", "above": 0.5 }),
                "refusals of harmless of a, above 50\u{a0}%",
                (0.0, 1.0),
            ),
            (
                serde_json::json!({ "metric": "refusal", "arm": "a", "baseline": "b", "below": 0 }),
                "refusals of harmless of a minus that of b, below 0\u{a0}pp",
                (-1.0, 1.0),
            ),
            (
                serde_json::json!({ "metric": "refusal", "arm": "a", "baseline": "b", "factor": 0.5, "below": 0 }),
                "refusals of harmless of a minus 0.5 times that of b, below 0\u{a0}pp",
                (-0.5, 1.0),
            ),
            (
                serde_json::json!({ "metric": "match_chosen", "minus": "match_rejected", "arm": "a", "baseline": "b",
                    "factor": 2, "less": { "arm": "c", "baseline": "d" }, "above": 0 }),
                "match on chosen minus match on rejected: (a minus 2 times b) minus (c minus 2 times d), above 0\u{a0}pp",
                (-6.0, 6.0),
            ),
        ] {
            let c = comparison(value);
            assert_eq!(c.words(), words);
            assert_eq!(c.bounds(), Some(bounds), "{words}");
        }
    }

    #[test]
    fn every_comparison_resamples_on_its_own() {
        let plain = serde_json::json!({ "metric": "gold", "arm": "a", "baseline": "b", "above": 0 });
        let mut half = plain.clone();
        half["factor"] = 0.5.into();
        let mut twice = plain.clone();
        twice["less"] = serde_json::json!({ "arm": "c", "baseline": "d" });
        let mut cells = [plain, half, twice].map(|c| comparison(c).cell("t", "in").arm).to_vec();
        assert_eq!(cells[0], "(\"a\", \"b\")");
        cells.dedup();
        assert_eq!(cells.len(), 3, "{cells:?}");
    }
}
