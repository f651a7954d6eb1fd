//! Claims held against the measurements. The verdict is the code's, by a rule fixed before looking:
//!
//! - *confirmed* or *refuted*: the interval lies wholly on the expected side of the threshold, or wholly on the
//!   other, and the p-value is small enough after Holm's correction over the claim's family: all findings that could be
//!   measured, also those whose requirements do not hold, so that the data do not choose how many are corrected for;
//! - *inconclusive*: anything else that was tested;
//! - *not tested*: something that the claim needs was not measured or, as far as can be seen, does not hold.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::{
    observations::Observations,
    params::{Claim, Comparison, Params},
};
use crate::statistics::{
    Estimate, holm,
    power::{SeedsNeeded, seeds_needed},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Confirmed,
    Refuted,
    Inconclusive,
    NotTested,
}

/// A claim in one task and one split.
#[derive(Debug)]
pub struct Finding {
    pub task: String,
    pub split: String,
    pub verdict: Verdict,
    /// Why the verdict is not plain from the numbers; may be empty.
    pub reason: String,
    /// None where nothing could be compared.
    pub measured: Option<Measured>,
}

#[derive(Debug)]
pub struct Measured {
    pub estimate: Estimate,
    /// None where the claim was not tested.
    pub p: Option<PValue>,
    /// Seeds whose own mean lies on the expected side.
    pub agreeing: usize,
    /// To see a difference of [`POINTS`]; none where the claim is not about a share.
    pub seeds_needed: Option<SeedsNeeded>,
}

/// Two-sided p-values of the threshold.
#[derive(Clone, Copy, Debug)]
pub struct PValue {
    pub alone: f64,
    /// By Holm.
    pub corrected: f64,
}

/// The difference that [`Measured::seeds_needed`] is about, as a share: 5 percentage points.
pub const POINTS: f64 = 0.05;
/// The level of its test, and its power.
pub const LEVEL: f64 = 0.05;
pub const POWER: f64 = 0.8;

/// A claim's number, a task and a split: what gets a verdict.
type Case<'a> = (usize, String, &'a String);

fn cases<'a>(all: &Observations, params: &'a Params) -> Vec<Case<'a>> {
    let of_claim = |(i, claim): (usize, &'a Claim)| {
        let tasks = claim.tasks.clone().unwrap_or_else(|| all.tasks.clone());
        tasks.into_iter().flat_map(move |task| claim.splits.iter().map(move |split| (i, task.clone(), split)))
    };
    params.claims.iter().enumerate().flat_map(of_claim).collect()
}

/// What was found of each claim, in the claims' order, then the tasks', then the splits'.
pub fn examine(all: &Observations, params: &Params, seed: u64) -> Vec<Vec<Finding>> {
    let mut findings: Vec<(usize, Finding)> = cases(all, params)
        .into_par_iter()
        .map(|(i, task, split)| (i, find(&params.claims[i], task, split, all, params, seed)))
        .collect();
    correct(&mut findings, params);
    let mut by_claim: Vec<Vec<Finding>> = params.claims.iter().map(|_| vec![]).collect();
    for (i, finding) in findings {
        by_claim[i].push(finding);
    }
    by_claim
}

fn find(claim: &Claim, task: String, split: &str, all: &Observations, params: &Params, seed: u64) -> Finding {
    let measure = |c: &Comparison| -> Result<Measured, String> {
        let sample = c.sample(all, &task, split)?;
        let seed = c.cell(&task, split).bootstrap_seed(seed);
        let estimate = sample.estimate(params.resamples, params.confidence, seed, c.bounds());
        let agreeing = sample.seed_means().filter(|(_, mean)| c.side(*mean) == Some(true)).count();
        let seeds_needed = c.unit().is_share().then(|| seeds_needed(&sample, POINTS, LEVEL, POWER));
        Ok(Measured { estimate, p: None, agreeing, seeds_needed })
    };
    let finding = |verdict, reason: String, measured| Finding {
        task: task.clone(),
        split: split.into(),
        verdict,
        reason,
        measured,
    };
    let mut measured = match measure(&claim.expect) {
        Ok(measured) => measured,
        Err(reason) => return finding(Verdict::NotTested, reason, None),
    };
    if !measured.estimate.has_interval() {
        let reason = match measured.estimate.values {
            1 => "one value has no interval".into(),
            _ => "values that never vary have no interval".into(),
        };
        return finding(Verdict::NotTested, reason, Some(measured));
    }
    for required in &claim.requires {
        let reason = match measure(required) {
            Err(reason) => reason,
            Ok(m) if interval_side(required, &m.estimate) == Some(true) => continue,
            Ok(m) => {
                let show = |x| required.unit().show(x);
                let e = m.estimate;
                format!(
                    "it needs that {}, but that is {} ({} to {})",
                    required.words(),
                    show(e.mean),
                    show(e.low),
                    show(e.high)
                )
            }
        };
        return finding(Verdict::NotTested, reason, Some(measured));
    }
    let p = measured.estimate.p_value(claim.expect.threshold());
    measured.p = Some(PValue { alone: p, corrected: p });
    let verdict = match interval_side(&claim.expect, &measured.estimate) {
        Some(true) => Verdict::Confirmed,
        Some(false) => Verdict::Refuted,
        None => Verdict::Inconclusive,
    };
    finding(verdict, String::new(), Some(measured))
}

/// Holm's correction over everything that was measured, family by family; what was not tested counts with a p of 1.
fn correct(findings: &mut [(usize, Finding)], params: &Params) {
    let mut families = BTreeMap::<&str, Vec<f64>>::new();
    for (i, finding) in findings.iter() {
        let p = finding.measured.as_ref().map(|m| m.p.map_or(1.0, |p| p.alone));
        families.entry(&params.claims[*i].family).or_default().extend(p);
    }
    let mut corrected: BTreeMap<&str, _> =
        families.into_iter().map(|(family, p)| (family, holm(&p).into_iter())).collect();
    for (i, finding) in findings {
        let Some(measured) = finding.measured.as_mut() else { continue };
        let of_family = corrected.get_mut(params.claims[*i].family.as_str());
        let of_finding = of_family.and_then(Iterator::next).unwrap_or(1.0);
        let Some(p) = measured.p.as_mut() else { continue };
        p.corrected = of_finding;
        let decided = matches!(finding.verdict, Verdict::Confirmed | Verdict::Refuted);
        if decided && p.corrected > 1.0 - params.confidence {
            finding.verdict = Verdict::Inconclusive;
            finding.reason =
                "the interval alone would decide, but p does not after the correction for all findings \
                 of its family"
                    .into();
        }
    }
}

/// Whether the whole interval lies on the expected side, or the whole of it on the other.
fn interval_side(c: &Comparison, e: &Estimate) -> Option<bool> {
    (c.side(e.low) == c.side(e.high)).then(|| c.side(e.low)).flatten()
}
