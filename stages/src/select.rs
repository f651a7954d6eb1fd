//! Model selection without gold: of the trials in a declared grid, the one that is best by a criterion that needs no
//! oracle. A grid is an axis of the experiment that this stage gathers, so that each arm gets the same number of trials.

use std::{collections::BTreeMap, fs, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    contract::{Artifact, Context, Coordinates, Input, Output, ParamError, Stage, StageError},
    dataset::{self, CurvePoint, Measurement},
};

/// Selects a reward model.
pub struct SelectReward;

/// Selects a policy.
pub struct SelectPolicy;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardParams {
    pub criterion: Criterion,
}

/// What a reward model is selected by: its mean over held-out pairs of the training distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Preference accuracy, the higher the better: for scalar reward models.
    Accuracy,
    /// Loss of the chosen response given the rejected one, the lower the better: for sequence reward models.
    CorrectionLoss,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyParams {
    /// What a nat of KL divergence costs, in units of reward. A policy is selected by its reward less this price, as
    /// means over the last fifth of its updates.
    pub kl_price: f64,
}

impl Default for PolicyParams {
    fn default() -> Self {
        Self { kl_price: 0.05 }
    }
}

impl Stage for SelectReward {
    const KIND: &'static str = "select-reward";
    const ABOUT: &'static str = "Selects of several reward models the best on held-out pairs; never by gold.";
    const INPUTS: &'static [Input] = &[
        Input::many("rewards", "reward", "the trials"),
        Input::many("evaluations", "measurements", "of each trial its evaluation on held-out pairs"),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output::new("reward", "reward", "the selected one"),
        Output::new("trials", "measurements", "the criterion of each trial"),
    ];
    type Params = RewardParams;

    fn run(params: RewardParams, ctx: &Context) -> Result<(), StageError> {
        let (metric, sign) = match params.criterion {
            Criterion::Accuracy => ("accuracy", 1.0),
            Criterion::CorrectionLoss => ("correction_loss", -1.0),
        };
        let worth = |path: &Path| -> Result<f64, StageError> {
            let rows: Vec<Measurement> = dataset::read(path)?;
            let values = rows.iter().filter(|m| m.metric == metric && m.split == "in");
            mean(values.map(|m| m.value), metric, path).map(|mean| sign * mean)
        };
        select(ctx, "rewards", "evaluations", "reward", worth)
    }
}

impl Stage for SelectPolicy {
    const KIND: &'static str = "select-policy";
    const ABOUT: &'static str =
        "Selects of several trained policies the best by reward less KL; never by gold.";
    const INPUTS: &'static [Input] = &[
        Input::many("policies", "model", "the trials, trained against the same reward"),
        Input::many("curves", "curves", "of each trial how its training went"),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output::new("model", "model", "the selected one"),
        Output::new("trials", "measurements", "the criterion of each trial"),
    ];
    type Params = PolicyParams;

    fn check(params: &PolicyParams) -> Result<(), ParamError> {
        in_range("kl_price", params.kl_price, 0.0, 1e6)
    }

    fn run(params: PolicyParams, ctx: &Context) -> Result<(), StageError> {
        let worth = |path: &Path| -> Result<f64, StageError> {
            let rows: Vec<CurvePoint> = dataset::read(path)?;
            let last = rows.iter().map(|p| p.step).max().unwrap_or_default();
            let of = |metric: &str| {
                let late = rows.iter().filter(|p| p.metric == metric && p.step > last - last.div_ceil(5));
                mean(late.map(|p| p.value), metric, path)
            };
            Ok(of("reward")? - params.kl_price * of("kl")?)
        };
        select(ctx, "policies", "curves", "model", worth)
    }
}

/// Copies the trial of the greatest worth to the output `chosen`, and writes down what each was worth. Of equals the
/// first is taken.
fn select(
    ctx: &Context,
    trials: &str,
    measured: &str,
    chosen: &str,
    worth: impl Fn(&Path) -> Result<f64, StageError>,
) -> Result<(), StageError> {
    let measured: BTreeMap<&Coordinates, &Artifact> =
        ctx.many(measured).iter().map(|a| (&a.coordinates, a)).collect();
    let mut best: Option<(f64, &Artifact)> = None;
    let mut rows = vec![];
    for trial in ctx.many(trials) {
        let name = name(&trial.coordinates);
        let found = measured.get(&trial.coordinates).ok_or_else(|| {
            StageError::new(format!("there is nothing to judge the trial `{name}` by"))
                .hint("let both inputs come from the same stage, so that they stand on the same axes")
        })?;
        let value = worth(&found.path)?;
        tracing::info!(trial = name, value, "measured");
        rows.push(Measurement {
            arm: name,
            split: "in".into(),
            item: 0,
            metric: "selection".into(),
            value: value as f32,
        });
        if best.is_none_or(|(most, _)| value > most) {
            best = Some((value, trial));
        }
    }
    let (_, best) = best.ok_or_else(|| StageError::new("there is no trial to select"))?;
    tracing::info!(trial = name(&best.coordinates), "selected");
    copy(&best.path, &ctx.output(chosen))
        .map_err(|e| StageError::because("the selected model could not be copied", e))?;
    Ok(dataset::write(&ctx.output("trials"), &rows)?)
}

/// `lr=0.001,width=64`
fn name(coordinates: &Coordinates) -> String {
    coordinates.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(",")
}

fn mean(values: impl Iterator<Item = f32>, metric: &str, path: &Path) -> Result<f64, StageError> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), value| (sum + f64::from(value), n + 1));
    let mean = sum / f64::from(n);
    if mean.is_finite() {
        return Ok(mean);
    }
    Err(StageError::new(format!("`{}` has no finite `{metric}` of the split `in`", path.display()))
        .hint("name a criterion that the trials' stage measures"))
}

/// Model folders are flat.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
