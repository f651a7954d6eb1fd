//! Arms compared at the same distance from the reference policy: a gain at much larger KL is not the same gain.
//!
//! The target is the largest KL that all arms reach. Each arm answers a prompt by its snapshot before the target or by
//! the one after, drawn so that the mean KL is the target: a mixture of two policies, chosen without looking at what
//! either is worth.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    contract::{Context, Input, Output, Stage, StageError},
    dataset::{self, Response, Snapshot},
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
    const INPUTS: &'static [Input] =
        &[Input::many("trajectories", "trajectory", "of the arms that are to be compared with each other")];
    const OUTPUTS: &'static [Output] =
        &[Output::new("responses", "responses", "the answers of all arms at the same KL")];
    type Params = Params;

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let mut arms = trajectories(ctx)?;
        if let Some(missing) = params.arms.iter().find(|arm| !arms.contains_key(*arm)) {
            let known = arms.keys().map(|a| format!("`{a}`")).collect::<Vec<_>>().join(", ");
            return Err(StageError::new(format!("there is no trajectory of the arm `{missing}`"))
                .hint(format!("the trajectories are of {known}; change `arms`")));
        }
        arms.retain(|arm, _| params.arms.is_empty() || params.arms.contains(arm));
        let reach = |way: &Trajectory| way.values().map(|rows| mean_kl(rows)).fold(0.0, f64::max);
        let target = arms.values().map(reach).reduce(f64::min).unwrap_or_default();
        let mut responses = vec![];
        for (arm, steps) in &arms {
            // The same draws for all arms: a prompt's luck is common to them.
            let mut rng = ChaCha8Rng::seed_from_u64(ctx.seed("mixture"));
            let (before, after, share) = around(steps, target);
            if before.len() != after.len() {
                return Err(StageError::new(format!("the snapshots of `{arm}` answer different prompts")));
            }
            responses.extend(before.iter().zip(after).map(|(before, after)| {
                let row = if rng.random::<f64>() < share { after } else { before };
                Response {
                    arm: format!("{arm}{}", params.suffix),
                    split: row.split.clone(),
                    item: row.item,
                    prompt: row.prompt.clone(),
                    response: row.response.clone(),
                    kl: row.kl,
                    ended: row.ended,
                }
            }));
        }
        Ok(dataset::write(&ctx.output("responses"), &responses)?)
    }
}

/// Snapshots by step.
type Trajectory = BTreeMap<u32, Vec<Snapshot>>;

/// The trajectories of all arms. None is empty.
fn trajectories(ctx: &Context) -> Result<BTreeMap<String, Trajectory>, StageError> {
    let mut arms = BTreeMap::<String, Trajectory>::new();
    for artifact in ctx.many("trajectories") {
        let rows: Vec<Snapshot> = dataset::read(&artifact.path)?;
        let Some(Snapshot { arm, .. }) = rows.first() else {
            return Err(StageError::new("a trajectory is empty")
                .hint("give the `ppo` stages the input `evaluation`, so that they answer on their way"));
        };
        if arms.contains_key(arm) {
            return Err(StageError::new(format!("two trajectories are of the arm `{arm}`"))
                .hint("give every arm a name of its own, such as `arm: \"ppo-${objective}\"`"));
        }
        for row in rows {
            arms.entry(row.arm.clone()).or_default().entry(row.step).or_default().push(row);
        }
    }
    Ok(arms)
}

fn mean_kl(rows: &[Snapshot]) -> f64 {
    rows.iter().map(|r| f64::from(r.kl)).sum::<f64>() / rows.len() as f64
}

/// The first snapshot whose KL is at least `target`, the one before it, and the share of prompts that the later one
/// answers. The first snapshot is the reference policy, at KL 0.
fn around(steps: &Trajectory, target: f64) -> (&[Snapshot], &[Snapshot], f64) {
    let snapshots: Vec<(&[Snapshot], f64)> = steps.values().map(|r| (r.as_slice(), mean_kl(r))).collect();
    let after = snapshots.iter().position(|(_, kl)| *kl >= target).unwrap_or(snapshots.len() - 1);
    let ((before, low), (after, high)) = (snapshots[after.saturating_sub(1)], snapshots[after]);
    (before, after, if high > low { ((target - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(kls: &[f32]) -> Trajectory {
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
        let steps = steps(&[0.0, 1.0, 3.0, 2.0]);
        for (target, expected) in
            [(0.0, (0, 0, 1.0)), (0.5, (0, 1, 0.5)), (2.5, (1, 2, 0.75)), (3.0, (1, 2, 1.0))]
        {
            let (before, after, share) = around(&steps, target);
            assert_eq!((before[0].step, after[0].step, share), expected, "{target}");
        }
    }
}
