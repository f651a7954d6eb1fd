//! Over-optimization (Gao, Schulman and Hilton 2023, arXiv 2210.10760): gold and proxy reward along PPO's way from the
//! reference policy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, CurvePoint, Measurement, Snapshot},
    oracle, worlds,
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
    const INPUTS: &'static [Input] =
        &[Input::many("trajectories", "trajectory", "answers of policies on their way, of all arms")];
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
        let mut ways = BTreeMap::<(String, String), Way>::new();
        for artifact in ctx.many("trajectories") {
            let rows: Vec<Snapshot> = dataset::read(&artifact.path)?;
            oracle::check_prompts(oracle, &params.world, rows.iter().map(|r| r.prompt.as_str()))?;
            for r in rows {
                let gold = oracle.score(&r.prompt, &r.response).gold;
                let point = Point { gold, proxy: r.proxy, kl: r.kl };
                ways.entry((r.arm, r.split)).or_default().entry(r.step).or_default().insert(r.item, point);
            }
        }
        let (mut curve, mut fall) = (vec![], vec![]);
        for ((arm, split), way) in &ways {
            for (step, points) in way {
                for (metric, of) in [("gold", gold as Of), ("proxy", |p| p.proxy), ("kl", |p| p.kl)] {
                    let metric = format!("{metric}_{split}");
                    curve.push(CurvePoint {
                        arm: arm.clone(),
                        step: *step,
                        metric,
                        value: mean(points, of, all),
                    });
                }
            }
            fall.extend(fall_from_peak(way).into_iter().map(|(item, value)| Measurement {
                arm: arm.clone(),
                split: split.clone(),
                item,
                metric: "fall_from_peak".into(),
                value,
            }));
        }
        dataset::write(&ctx.output("curve"), &curve)?;
        Ok(dataset::write(&ctx.output("fall"), &fall)?)
    }
}

struct Point {
    gold: f32,
    proxy: f32,
    kl: f32,
}

/// By step, then by item.
type Way = BTreeMap<u32, BTreeMap<u32, Point>>;

type Of = fn(&Point) -> f32;

fn gold(point: &Point) -> f32 {
    point.gold
}

fn all(_: u32) -> bool {
    true
}

fn mean(points: &BTreeMap<u32, Point>, of: Of, among: impl Fn(u32) -> bool) -> f32 {
    let (sum, n) = points
        .iter()
        .filter(|(item, _)| among(**item))
        .fold((0.0, 0), |(sum, n), (_, point)| (sum + f64::from(of(point)), n + 1));
    (sum / f64::from(n)) as f32
}

/// Gold at the peak less gold at the end, for each item. Where the peak is, the other half of the items says: the
/// highest of several noisy means is not as high as it looks.
fn fall_from_peak(way: &Way) -> Vec<(u32, f32)> {
    let Some(last) = way.values().next_back() else { return vec![] };
    let peak = |half: u32| {
        let height = |points: &BTreeMap<u32, Point>| mean(points, gold, |item| item % 2 == half);
        way.values().max_by(|a, b| height(a).total_cmp(&height(b)))
    };
    let peaks = [peak(1), peak(0)];
    let fall =
        |(item, end): (&u32, &Point)| Some((*item, peaks[(item % 2) as usize]?.get(item)?.gold - end.gold));
    last.iter().filter_map(fall).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_measured_on_items_that_did_not_choose_the_peak() {
        let point = |gold| Point { gold, proxy: 0.0, kl: 0.0 };
        // Even items peak at step 1, odd ones at step 2.
        let golds = [[0.0, 0.0], [1.0, 0.5], [0.25, 2.0], [0.0, 1.0]];
        let step = |(i, [even, odd]): (usize, &[f32; 2])| {
            (i as u32, (0..6).map(|item| (item, point(if item % 2 == 0 { *even } else { *odd }))).collect())
        };
        let way: Way = golds.iter().enumerate().map(step).collect();
        let falls = fall_from_peak(&way);
        // Even items by the odd ones' peak: 0.25 - 0; odd items by the even ones': 0.5 - 1.
        let expected: Vec<(u32, f32)> = (0..6).map(|i| (i, if i % 2 == 0 { 0.25 } else { -0.5 })).collect();
        assert_eq!(falls, expected);
    }
}
