//! What stands under `with:` of a report: above all the claims, declared before their results are seen.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{check::in_range, contract::ParamError};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    pub title: String,
    /// What the experiment asks; a paragraph for each empty line.
    pub about: String,
    /// What has to be known to read the results rightly; one paragraph each.
    pub notes: Vec<String>,
    /// The order in which arms are shown, and what each is. Arms that are not listed follow.
    pub arms: Vec<Arm>,
    /// Where arms are many: those that the pictures of win rates show, against each other and all others. Empty: all.
    /// Names that were not measured do not count.
    pub highlight: Vec<String>,
    pub claims: Vec<Claim>,
    /// Bootstrap resamples; they say how intervals lie around their means.
    pub resamples: usize,
    /// Probability that an interval is meant to cover; 1 minus it is the error rate of all verdicts of a family together.
    pub confidence: f64,
    /// The axis whose points are tasks; measurements without it are of the task `all`.
    pub task_axis: String,
    /// The axis whose points are seeds; measurements without it are of the seed `1`.
    pub seed_axis: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "Report".into(),
            about: String::new(),
            notes: vec![],
            arms: vec![],
            highlight: vec![],
            claims: vec![],
            resamples: 2000,
            confidence: 0.95,
            task_axis: "task".into(),
            seed_axis: "seed".into(),
        }
    }
}

/// An arm, as readers should know it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    pub name: String,
    #[serde(default)]
    pub about: String,
}

/// A statement that the results can confirm or refute, in each of its tasks and splits.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// A short name that is unique in the report.
    pub name: String,
    /// The claim in plain words.
    pub text: String,
    /// The result that would refute it, in plain words.
    #[serde(default)]
    pub refuted_if: String,
    pub expect: Comparison,
    /// What must hold for the claim to be tested at all; otherwise it counts as not tested.
    #[serde(default)]
    pub requires: Vec<Comparison>,
    /// By default all tasks.
    #[serde(default)]
    pub tasks: Option<Vec<String>>,
    #[serde(default = "both_splits")]
    pub splits: Vec<String>,
    /// The claims whose p-values are corrected together for their being many: those of one question.
    #[serde(default = "usual_family")]
    pub family: String,
}

fn both_splits() -> Vec<String> {
    vec!["in".into(), "out".into()]
}

fn usual_family() -> String {
    "claims".into()
}

/// A mean, a difference of means or a difference of differences, paired by seed and item, and the side of a number
/// where it should lie.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    pub metric: String,
    /// A metric to subtract, of the same arm.
    #[serde(default)]
    pub minus: Option<String>,
    pub arm: String,
    /// An arm whose value is subtracted.
    #[serde(default)]
    pub baseline: Option<String>,
    /// The baseline's value is multiplied by it before it is subtracted: with 0.5, below 0 is less than half.
    #[serde(default = "one")]
    pub factor: f64,
    /// Two more arms, whose difference is subtracted from that of `arm` and `baseline`: of the same metric, with the
    /// same `minus` and `factor`.
    #[serde(default)]
    pub less: Option<Difference>,
    /// Expected to lie above this; either this or `below`.
    #[serde(default)]
    pub above: Option<f64>,
    /// Expected to lie below this; either this or `above`.
    #[serde(default)]
    pub below: Option<f64>,
}

/// Two arms whose values are subtracted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    pub arm: String,
    pub baseline: String,
}

fn one() -> f64 {
    1.0
}

impl Params {
    pub fn check(&self) -> Result<(), ParamError> {
        in_range("resamples", self.resamples, 100, 1_000_000)?;
        in_range("confidence", self.confidence, 0.5, 0.999)?;
        if self.task_axis == self.seed_axis {
            return Err(ParamError::new("seed_axis", "`task_axis` and `seed_axis` name the same axis")
                .hint("tasks and seeds are different axes of the experiment"));
        }
        let mut names = BTreeSet::new();
        for (i, claim) in self.claims.iter().enumerate() {
            if !names.insert(&claim.name) {
                let message = format!("two claims are called `{}`", claim.name);
                return Err(ParamError::new(format!("claims[{i}].name"), message)
                    .hint("give every claim a name of its own"));
            }
            if claim.family.trim().is_empty() {
                let message = format!("the claim `{}` is of a family without a name", claim.name);
                return Err(ParamError::new(format!("claims[{i}].family"), message)
                    .hint("name the family, or leave it out: `claims` is the usual one"));
            }
            claim.expect.check(&format!("claims[{i}].expect"))?;
            for (j, required) in claim.requires.iter().enumerate() {
                required.check(&format!("claims[{i}].requires[{j}]"))?;
            }
            if claim.splits.is_empty() || claim.tasks.as_ref().is_some_and(Vec::is_empty) {
                let message = format!("the claim `{}` is about nothing: a list is empty", claim.name);
                return Err(ParamError::new(format!("claims[{i}]"), message)
                    .hint("name at least one of `splits` and of `tasks`, or leave them out"));
            }
        }
        Ok(())
    }
}

impl Comparison {
    fn check(&self, path: &str) -> Result<(), ParamError> {
        in_range(format!("{path}.factor"), self.factor, 0.0, 100.0)?;
        if self.baseline.is_none() {
            let without = |key: &str, message: &str| {
                Err(ParamError::new(format!("{path}.{key}"), message)
                    .hint("name the arm that `arm` is compared with: `baseline: sft`"))
            };
            if self.factor != 1.0 {
                return without("factor", "a comparison has a `factor` and no `baseline` to multiply by it");
            }
            if self.less.is_some() {
                return without(
                    "less",
                    "a comparison has `less` and no `baseline`: no difference to subtract from",
                );
            }
        }
        let message = match (self.above, self.below) {
            (Some(x), None) | (None, Some(x)) if x.is_finite() => return Ok(()),
            (Some(_), Some(_)) => "a comparison has both `above` and `below`",
            (None, None) => "a comparison has neither `above` nor `below`",
            _ => "a comparison with a number that is not finite",
        };
        Err(ParamError::new(path, message)
            .hint("say where the value is expected: `above: 0.5` or `below: 0.5`"))
    }

    /// The number that the value is held against.
    pub fn threshold(&self) -> f64 {
        self.above.or(self.below).unwrap_or_default()
    }

    pub fn expects_above(&self) -> bool {
        self.above.is_some()
    }
}
