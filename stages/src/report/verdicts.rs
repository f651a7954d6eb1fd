//! `verdicts.csv`: every verdict with the numbers that it rests on, so that others can compute it again.

use std::path::Path;

use super::{
    claim::{Finding, Verdict},
    params::Claim,
};
use crate::contract::StageError;

const COLUMNS: [&str; 23] = [
    "family",
    "claim",
    "task",
    "split",
    "verdict",
    "estimate",
    "low",
    "high",
    "standard_error",
    "df",
    "p",
    "p_corrected",
    "seeds",
    "metric",
    "minus",
    "arm",
    "baseline",
    "factor",
    "less_arm",
    "less_baseline",
    "threshold",
    "side",
    "reason",
];

/// Writes one row for each claim, task and split.
///
/// | column | meaning |
/// | --- | --- |
/// | `family` | the claims that are corrected together |
/// | `claim`, `task`, `split` | what the verdict is about, by the names of the experiment file |
/// | `verdict` | `confirmed`, `refuted`, `inconclusive` or `not-tested` |
/// | `estimate` | the mean of the seeds' means, in the metric's own unit; shares and their differences as fractions |
/// | `low`, `high` | bounds of its interval |
/// | `standard_error`, `df` | of the estimate, and its degrees of freedom; the interval and `p` are Student's t with these, but for values that never vary |
/// | `p` | two-sided p-value of the threshold; empty where the claim was not tested |
/// | `p_corrected` | the same by Holm's correction over all rows of the family that have an `estimate`; one without a `p` counts with 1 |
/// | `seeds` | how many seeds there are |
/// | `metric`, `minus`, `arm`, `baseline`, `factor`, `less_arm`, `less_baseline` | what is estimated, see below |
/// | `threshold`, `side` | the number that the estimate is held against, and the side where it is expected: `above` or `below` |
/// | `reason` | why the verdict is not plain from the numbers; may be empty |
///
/// With `x(arm)` for the value of `metric` in an arm, or for `metric` less `minus`, seed by seed and item by item, the
/// estimate is the mean of `(x(arm) - factor x(baseline)) - (x(less_arm) - factor x(less_baseline))`, as far as the
/// columns are not empty.
///
/// A verdict is `confirmed` where `low` and `high` lie on that side of `threshold` and `p_corrected` is at most
/// 1 minus the report's confidence, `refuted` where they lie on the other. What was not measured is empty. Numbers
/// are the shortest that read back the same.
pub fn write(path: &Path, claims: &[Claim], findings: &[Vec<Finding>]) -> Result<(), StageError> {
    let failed = |e| StageError::because("`verdicts.csv` could not be written", e);
    let mut csv = csv::Writer::from_path(path).map_err(failed)?;
    csv.write_record(COLUMNS).map_err(failed)?;
    for (claim, findings) in claims.iter().zip(findings) {
        for finding in findings {
            csv.write_record(row(claim, finding)).map_err(failed)?;
        }
    }
    csv.flush().map_err(|e| failed(e.into()))
}

fn row(claim: &Claim, finding: &Finding) -> [String; 23] {
    let number = |value: Option<f64>| value.map_or(String::new(), |v| (v + 0.0).to_string()); // no `-0`
    let measured = finding.measured.as_ref();
    let estimate = measured.map(|m| &m.estimate);
    let interval = estimate.filter(|e| e.has_interval());
    let p = measured.and_then(|m| m.p);
    let c = &claim.expect;
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    [
        claim.family.clone(),
        claim.name.clone(),
        finding.task.clone(),
        finding.split.clone(),
        finding.verdict.name().into(),
        number(estimate.map(|e| e.mean)),
        number(interval.map(|e| e.low)),
        number(interval.map(|e| e.high)),
        number(interval.map(|e| e.standard_error)),
        number(interval.map(|e| e.df)),
        number(p.map(|p| p.alone)),
        number(p.map(|p| p.corrected)),
        estimate.map_or(String::new(), |e| e.seeds.to_string()),
        c.metric.clone(),
        text(c.minus.as_ref()),
        c.arm.clone(),
        text(c.baseline.as_ref()),
        number(c.baseline.as_ref().map(|_| c.factor)),
        text(c.less.as_ref().map(|l| &l.arm)),
        text(c.less.as_ref().map(|l| &l.baseline)),
        number(Some(c.threshold())),
        if c.expects_above() { "above" } else { "below" }.into(),
        finding.reason.clone(),
    ]
}

impl Verdict {
    /// As it is serialized.
    fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Inconclusive => "inconclusive",
            Self::NotTested => "not-tested",
        }
    }
}
