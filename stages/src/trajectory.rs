//! Trajectories as the stages that compare arms read them: what each policy answered on its way.

use std::collections::BTreeMap;

use crate::{
    contract::{Context, Input, StageError},
    dataset::{self, Snapshot},
    names::list,
};

/// The input of the stages that read trajectories.
pub const TRAJECTORIES: Input = Input::many(
    "trajectories",
    "trajectory",
    "answers of policies on their way, one trajectory for each arm",
);

/// The answers by step. None is empty, and all are to the same prompts in the same order.
pub type Way = BTreeMap<u32, Vec<Snapshot>>;

/// The ways by arm, and there by split. No arm is without a way.
pub type Ways = BTreeMap<String, BTreeMap<String, Way>>;

/// Reads the input [`TRAJECTORIES`].
///
/// # Errors
/// An empty trajectory, two of one arm, numbers that are not finite, and steps that answer different prompts.
pub fn read(ctx: &Context) -> Result<Ways, StageError> {
    let mut ways = Ways::new();
    for artifact in ctx.many("trajectories") {
        let rows: Vec<Snapshot> = dataset::read(&artifact.path)?;
        let arms = of_one(rows)?;
        if arms.is_empty() {
            return Err(StageError::new("a trajectory is empty")
                .hint("give the `ppo` stages the input `evaluation`, so that they answer on their way"));
        }
        for (arm, splits) in arms {
            if ways.contains_key(&arm) {
                return Err(StageError::new(format!("two trajectories are of the arm `{arm}`"))
                    .hint("give every arm a name of its own, such as `arm: \"ppo-${objective}\"`"));
            }
            ways.insert(arm, splits);
        }
    }
    Ok(ways)
}

fn of_one(rows: Vec<Snapshot>) -> Result<Ways, StageError> {
    let mut ways = Ways::new();
    for row in rows {
        if !(row.kl.is_finite() && row.proxy.is_finite()) {
            let Snapshot { arm, step, split, item, kl, proxy, .. } = row;
            let message = format!(
                "after {step} updates the arm `{arm}` has a KL of {kl} and a reward of {proxy} (split `{split}`, item {item})"
            );
            return Err(StageError::new(message).hint("look at the arm's training curve: it has diverged"));
        }
        let splits = ways.entry(row.arm.clone()).or_default();
        splits.entry(row.split.clone()).or_default().entry(row.step).or_default().push(row);
    }
    for (arm, splits) in &ways {
        for (split, way) in splits {
            let mut steps = way.values();
            let first = steps.next().map_or(&[][..], Vec::as_slice);
            let same = |(a, b): (&Snapshot, &Snapshot)| (a.item, &a.prompt) == (b.item, &b.prompt);
            if !steps.all(|rows| rows.len() == first.len() && rows.iter().zip(first).all(same)) {
                let message = format!("the snapshots of `{arm}` answer different prompts (split `{split}`)");
                return Err(StageError::new(message).hint("read a trajectory that a `ppo` stage has written"));
            }
        }
    }
    Ok(ways)
}

/// The ways of the arms of that name, in the order of the names; those of all arms where no name is given.
///
/// # Errors
/// Names the first arm that has none.
pub fn choose(mut ways: Ways, arms: &[String]) -> Result<Ways, StageError> {
    if let Some(missing) = arms.iter().find(|arm| !ways.contains_key(*arm)) {
        let known = list(ways.keys().map(String::as_str));
        return Err(StageError::new(format!("there is no trajectory of the arm `{missing}`"))
            .hint(format!("the trajectories are of {known}; change `arms`")));
    }
    ways.retain(|arm, _| arms.is_empty() || arms.contains(arm));
    Ok(ways)
}
