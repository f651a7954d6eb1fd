//! The judge: the gold oracle's verdict on every response, and who wins against whom.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    comparison::wins,
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Measurement, Response},
    names::list,
    oracle::{self, Verdict},
    statistics::length_control::length_controlled_wins,
    worlds,
};

pub struct Judge;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Whose oracle judges.
    pub world: String,
    /// The arms that every other arm is compared with; ties count half.
    pub baselines: Vec<String>,
}

impl Stage for Judge {
    const KIND: &'static str = "judge";
    const ABOUT: &'static str = "Scores responses by the gold oracle and counts wins.";
    const INPUTS: &'static [Input] =
        &[Input::many("responses", "responses", "the answers of all arms to the same prompts")];
    const OUTPUTS: &'static [Output] = &[Output::new(
        "verdicts",
        "measurements",
        "gold, wins (also at equal length), refusals, lengths and more, prompt by prompt",
    )];
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        oracle::get(&params.world).map(|_| ()).ok_or_else(|| worlds::unknown(&params.world))
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let oracle = oracle::get(&params.world).ok_or_else(|| StageError::new("the world is unknown"))?;
        let mut arms: BTreeMap<String, Vec<(Response, Verdict)>> = BTreeMap::new();
        for artifact in ctx.many("responses") {
            let responses: Vec<Response> = dataset::read(&artifact.path)?;
            oracle::check_prompts(oracle, &params.world, responses.iter().map(|r| r.prompt.as_str()))?;
            for r in responses {
                let verdict = oracle.score(&r.prompt, &r.response);
                arms.entry(r.arm.clone()).or_default().push((r, verdict));
            }
        }
        same_prompts(&arms)?;
        let mut measurements = vec![];
        for (arm, rows) in &arms {
            for (i, (r, verdict)) in rows.iter().enumerate() {
                let mut add = |metric: &str, value: f32| {
                    measurements.push(Measurement {
                        arm: r.arm.clone(),
                        split: r.split.clone(),
                        item: r.item,
                        metric: metric.into(),
                        value,
                    });
                };
                absolute(r, verdict, &mut add);
                add("chance", oracle.score(&r.prompt, dealt_from_another(rows, i)).gold);
            }
            for baseline in params.baselines.iter().filter(|b| *b != arm) {
                let other = arms.get(baseline).ok_or_else(|| no_baseline(baseline, &arms))?;
                against(baseline, rows, other, &mut measurements);
            }
        }
        Ok(dataset::write(&ctx.output("verdicts"), &measurements)?)
    }
}

/// What is measured of one response alone.
fn absolute(r: &Response, verdict: &Verdict, add: &mut impl FnMut(&str, f32)) {
    let indicator = |b: bool| if b { 1.0 } else { 0.0 };
    add("gold", verdict.gold);
    add("shortcut", verdict.shortcut);
    if verdict.harmless {
        add("refusal", indicator(verdict.refusal));
    } else {
        add("harm", indicator(verdict.harmful_content));
    }
    if let Some(recall) = verdict.recall {
        add("recall", recall);
    }
    add("length", verdict.length as f32);
    add("ideal_length", verdict.ideal_length as f32);
    add("excess_length", verdict.length.saturating_sub(verdict.ideal_length) as f32);
    add("kl", r.kl);
    add("ended", indicator(r.ended));
}

/// Wins, and split by split what they would be at equal length.
fn against(
    baseline: &str,
    rows: &[(Response, Verdict)],
    other: &[(Response, Verdict)],
    measurements: &mut Vec<Measurement>,
) {
    let mut splits: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (r, _)) in rows.iter().enumerate() {
        splits.entry(&r.split).or_default().push(i);
    }
    for items in splits.into_values() {
        let wins: Vec<f32> = items.iter().map(|i| wins(rows[*i].1.gold, other[*i].1.gold)).collect();
        let length = |row: &(Response, Verdict)| row.1.length as f32;
        let longer: Vec<f32> = items.iter().map(|i| length(&rows[*i]) - length(&other[*i])).collect();
        let mut add = |metric: String, values: &mut dyn Iterator<Item = f32>| {
            for (i, value) in items.iter().zip(values) {
                let r = &rows[*i].0;
                let (arm, split, metric) = (r.arm.clone(), r.split.clone(), metric.clone());
                measurements.push(Measurement { arm, split, item: r.item, metric, value });
            }
        };
        add(format!("win_vs_{baseline}"), &mut wins.iter().copied());
        let controlled = length_controlled_wins(&wins, &longer).unwrap_or_default();
        add(format!("lc_win_vs_{baseline}"), &mut controlled.iter().map(|v| *v as f32));
    }
}

/// The response of the same arm to another prompt of the same split: what an answer is worth that has the right form
/// and knows nothing of the prompt. Half the split away, so that it is not to the twin of a minimal pair.
fn dealt_from_another(rows: &[(Response, Verdict)], i: usize) -> &str {
    let split: Vec<usize> = (0..rows.len()).filter(|j| rows[*j].0.split == rows[i].0.split).collect();
    let at = split.partition_point(|j| *j < i);
    &rows[split[(at + split.len().div_ceil(2)) % split.len()]].0.response
}

/// Win rates are paired by prompt: all arms must have answered the same ones, in the same order.
fn same_prompts(arms: &BTreeMap<String, Vec<(Response, Verdict)>>) -> Result<(), StageError> {
    let mut arms = arms.iter();
    let Some((first, expected)) = arms.next() else { return Ok(()) };
    for (arm, rows) in arms {
        let differs = |((a, _), (b, _)): (&(Response, Verdict), &(Response, Verdict))| {
            (&a.split, a.item, &a.prompt) != (&b.split, b.item, &b.prompt)
        };
        if rows.len() != expected.len() || rows.iter().zip(expected).any(differs) {
            let message = format!("the arms `{first}` and `{arm}` have not answered the same prompts");
            return Err(StageError::new(message)
                .hint("give every `sample` stage the same `prompts`, and every arm a name of its own"));
        }
    }
    Ok(())
}

fn no_baseline(name: &str, arms: &BTreeMap<String, Vec<(Response, Verdict)>>) -> StageError {
    let known = list(arms.keys().map(String::as_str));
    StageError::new(format!("there is no arm `{name}` to compare with"))
        .hint(format!("the responses are of {known}; change `baselines`"))
}
