//! Arms compared at the same distance from the reference policy: a gain at much larger KL is not the same gain.
//!
//! In each split the target is the largest KL that all arms reach. Each arm answers a prompt by its snapshot before the
//! target or by the one after, drawn so that the mean KL is the target: a mixture of two policies, chosen without
//! looking at what either is worth. Where gold is concave in KL a mixture is worth less than a policy at the same KL;
//! snapshots close to each other (`evaluate_every`) leave little of that, and the measurements say how close they are.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    contract::{Context, Input, Output, Stage, StageError},
    dataset::{self, Measurement, Response, Snapshot},
    trajectory::{self, TRAJECTORIES, Way},
};

pub struct MatchKl;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The arms to compare; by default all that there are.
    pub arms: Vec<String>,
    /// Put behind the arms' names.
    pub suffix: String,
}

impl Default for Params {
    fn default() -> Self {
        Self { arms: vec![], suffix: "@kl".into() }
    }
}

impl Stage for MatchKl {
    const KIND: &'static str = "match-kl";
    const ABOUT: &'static str = "Picks of each arm's trajectory the answers at the KL that all arms reach.";
    const INPUTS: &'static [Input] = &[TRAJECTORIES];
    const OUTPUTS: &'static [Output] = &[
        Output::new("responses", "responses", "the answers of all arms at the same KL"),
        Output::new("bracket", "measurements", "of each arm the KL of the two snapshots that it answers by"),
    ];
    type Params = Params;

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let ways = trajectory::choose(trajectory::read(ctx)?, &params.arms)?;
        if ways.len() < 2 {
            let only = ways.keys().next().map_or("none", String::as_str);
            return Err(StageError::new(format!("there is nothing to match the arm `{only}` with"))
                .hint("give `trajectories` of two or more arms, and name as many in `arms`"));
        }
        let (mut responses, mut bracket) = (vec![], vec![]);
        for (arm, splits) in &ways {
            for (split, way) in splits {
                let target = target(ways.iter().map(|(other, splits)| {
                    splits.get(split).ok_or_else(|| {
                        StageError::new(format!("the arm `{other}` has no answers of the split `{split}`"))
                            .hint("give every `ppo` stage the same `evaluation`")
                    })
                }))?;
                let (before, after, share) = around(way, target);
                let name = format!("{arm}{}", params.suffix);
                for (metric, value) in [("kl_before", mean_kl(before)), ("kl_after", mean_kl(after))] {
                    let (arm, split, metric) = (name.clone(), split.clone(), metric.into());
                    bracket.push(Measurement { arm, split, item: 0, metric, value: value as f32 });
                }
                // The same draws for all arms: a prompt's luck is common to them.
                let mut rng = ChaCha8Rng::seed_from_u64(ctx.seed(&format!("mixture {split}")));
                responses.extend(before.iter().zip(after).map(|(before, after)| {
                    let row = if rng.random::<f64>() < share { after } else { before };
                    response(row, &name)
                }));
            }
        }
        dataset::write(&ctx.output("responses"), &responses)?;
        Ok(dataset::write(&ctx.output("bracket"), &bracket)?)
    }
}

fn response(row: &Snapshot, arm: &str) -> Response {
    Response {
        arm: arm.into(),
        split: row.split.clone(),
        item: row.item,
        prompt: row.prompt.clone(),
        response: row.response.clone(),
        kl: row.kl,
        ended: row.ended,
    }
}

fn mean_kl(rows: &[Snapshot]) -> f64 {
    rows.iter().map(|r| f64::from(r.kl)).sum::<f64>() / rows.len() as f64
}

/// The largest KL that all ways reach.
fn target<'a>(mut ways: impl Iterator<Item = Result<&'a Way, StageError>>) -> Result<f64, StageError> {
    let reach = |way: &Way| way.values().map(|rows| mean_kl(rows)).fold(0.0, f64::max);
    ways.try_fold(f64::INFINITY, |least, way| Ok(least.min(reach(way?))))
}

/// The first snapshot whose KL is at least `target`, the one before it, and the share of prompts that the later one
/// answers. The first snapshot is the reference policy, at KL 0.
fn around(way: &Way, target: f64) -> (&[Snapshot], &[Snapshot], f64) {
    let snapshots: Vec<(&[Snapshot], f64)> = way.values().map(|r| (r.as_slice(), mean_kl(r))).collect();
    let after = snapshots.iter().position(|(_, kl)| *kl >= target).unwrap_or(snapshots.len() - 1);
    let ((before, low), (after, high)) = (snapshots[after.saturating_sub(1)], snapshots[after]);
    (before, after, if high > low { ((target - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(kls: &[f32]) -> Way {
        let row = |step: usize, kl: f32| Snapshot {
            arm: "a".into(),
            step: step as u32,
            split: "in".into(),
            item: 0,
            prompt: String::new(),
            response: String::new(),
            kl,
            proxy: 0.0,
            ended: true,
        };
        kls.iter().enumerate().map(|(step, kl)| (step as u32, vec![row(step, *kl)])).collect()
    }

    #[test]
    fn the_target_lies_between_two_snapshots() {
        let way = way(&[0.0, 1.0, 3.0, 2.0]);
        for (target, expected) in
            [(0.0, (0, 0, 1.0)), (0.5, (0, 1, 0.5)), (2.5, (1, 2, 0.75)), (3.0, (1, 2, 1.0))]
        {
            let (before, after, share) = around(&way, target);
            assert_eq!((before[0].step, after[0].step, share), expected, "{target}");
        }
    }

    #[test]
    fn the_target_is_what_the_nearest_arm_reaches() {
        let (near, far) = (way(&[0.0, 2.0, 1.5]), way(&[0.0, 3.0, 9.0]));
        assert_eq!(target([Ok(&far), Ok(&near)].into_iter()).ok(), Some(2.0));
    }
}
