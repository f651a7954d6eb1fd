//! Over-optimization (Gao, Schulman and Hilton 2023, arXiv 2210.10760): gold and proxy reward along PPO's way from the
//! reference policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, CurvePoint, Measurement, Snapshot},
    oracle,
    statistics::mean,
    trajectory, worlds,
};

pub struct Overoptimization;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Whose oracle judges.
    pub world: String,
}

impl Stage for Overoptimization {
    const KIND: &'static str = "overoptimization";
    const ABOUT: &'static str = "Measures gold and proxy reward against KL along PPO's trajectories.";
    const INPUTS: &'static [Input] = &[trajectory::TRAJECTORIES];
    const OUTPUTS: &'static [Output] = &[
        Output::new("curve", "curves", "gold, proxy reward and KL by update, in and out of distribution"),
        Output::new("fall", "measurements", "what gold loses from its peak to the end, prompt by prompt"),
    ];
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        oracle::get(&params.world).map(|_| ()).ok_or_else(|| worlds::unknown(&params.world))
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let oracle = oracle::get(&params.world).ok_or_else(|| StageError::new("the world is unknown"))?;
        let gold = |s: &Snapshot| oracle.score(&s.prompt, &s.response).gold;
        let (mut curve, mut fall) = (vec![], vec![]);
        for (arm, splits) in trajectory::read(ctx)? {
            for (split, way) in splits {
                let prompts = way.values().flatten().map(|s| s.prompt.as_str());
                oracle::check_prompts(oracle, &params.world, prompts)?;
                let golds: Golds =
                    way.values().map(|rows| rows.iter().map(|s| (s.item, gold(s))).collect()).collect();
                for ((step, rows), golds) in way.iter().zip(&golds) {
                    for (metric, value) in [
                        ("gold", mean(golds.iter().map(|(_, gold)| *gold))),
                        ("proxy", mean(rows.iter().map(|s| s.proxy))),
                        ("kl", mean(rows.iter().map(|s| s.kl))),
                    ] {
                        let metric = format!("{metric}_{split}");
                        curve.push(CurvePoint { arm: arm.clone(), step: *step, metric, value });
                    }
                }
                fall.extend(fall_from_peak(&golds).into_iter().map(|(item, value)| Measurement {
                    arm: arm.clone(),
                    split: split.clone(),
                    item,
                    metric: "fall_from_peak".into(),
                    value,
                }));
            }
        }
        dataset::write(&ctx.output("curve"), &curve)?;
        Ok(dataset::write(&ctx.output("fall"), &fall)?)
    }
}

/// Gold by item, snapshot after snapshot; the same items in each.
type Golds = Vec<Vec<(u32, f32)>>;

/// The half that an item is in. Items come in twos where a world draws minimal pairs: both are in the same half.
fn half(item: u32) -> usize {
    (item / 2 % 2) as usize
}

/// Gold at the peak less gold at the end, for each item. Where the peak is, the other half of the items says: the
/// highest of several noisy means is not as high as it looks.
fn fall_from_peak(golds: &Golds) -> Vec<(u32, f32)> {
    let Some(end) = golds.last() else { return vec![] };
    let peak = |chosen_by: usize| {
        let height = |golds: &Vec<(u32, f32)>| {
            mean(golds.iter().filter(|(item, _)| half(*item) == chosen_by).map(|(_, gold)| *gold))
        };
        golds.iter().max_by(|a, b| height(a).total_cmp(&height(b))).unwrap_or(end)
    };
    let peaks = [peak(1), peak(0)];
    let fall = |(i, (item, last)): (usize, &(u32, f32))| (*item, peaks[half(*item)][i].1 - last);
    end.iter().enumerate().map(fall).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_measured_on_items_that_did_not_choose_the_peak() {
        // The items 0, 1, 4, 5 peak at step 1, the others at step 2.
        let golds: Golds = [[0.0, 0.0], [1.0, 0.5], [0.25, 2.0], [0.0, 1.0]]
            .iter()
            .map(|of_halves| (0..8).map(|item| (item, of_halves[half(item)])).collect())
            .collect();
        // Each half by the other one's peak: 0.25 - 0, and 0.5 - 1.
        let expected: Vec<(u32, f32)> = (0..8).map(|i| (i, [0.25, -0.5][half(i)])).collect();
        assert_eq!(fall_from_peak(&golds), expected);
    }
}
