//! Everything that the page says, ready to be set.

use serde::Serialize;

use super::{
    chart::{self, Chart, Series},
    claim::{Finding, Measured, Verdict},
    curves::Curves,
    metric::Metric,
    observations::Observations,
    params::{Claim, Comparison, Params},
    results::Results,
    tables::{Table, range, split_title, tables},
    words::{count, rounded},
};
use crate::statistics::power::{MOST, SeedsNeeded};

mod pictures;

#[derive(Debug, Serialize)]
pub struct Page {
    pub title: String,
    pub about: Vec<String>,
    pub notes: Vec<String>,
    /// What holds of every report with these seeds and measurements; the first is about the seeds.
    pub limits: Vec<String>,
    pub tally: Vec<Tally>,
    pub claims: Vec<ClaimView>,
    pub arms: Vec<ArmView>,
    pub tasks: Vec<TaskView>,
    pub glossary: Vec<Term>,
    pub confidence: String,
    pub resamples: usize,
    /// What is corrected together.
    pub families: Vec<Family>,
    /// The arms whose pairs are in the pictures of win rates, in words; empty if all are.
    pub highlight: String,
    /// Whether any claim has seeds for a difference of 5 points.
    pub asks_for_seeds: bool,
}

/// The claims of one question, and how many findings p-values are corrected for.
#[derive(Debug, Serialize)]
pub struct Family {
    pub name: String,
    pub findings: usize,
}

/// How many findings came out one way.
#[derive(Debug, Serialize)]
pub struct Tally {
    pub verdict: Verdict,
    pub word: &'static str,
    pub sign: &'static str,
    pub count: usize,
}

#[derive(Debug, Serialize)]
pub struct ClaimView {
    pub name: String,
    pub text: String,
    pub family: String,
    pub expects: String,
    pub requires: Vec<String>,
    pub refuted_if: String,
    /// Whether it is about a share, so that the seeds for a difference of 5 points can be told.
    pub of_share: bool,
    /// Why nothing was tested, where that is so everywhere for want of measurements; else empty.
    pub unmeasured: String,
    pub findings: Vec<FindingView>,
}

#[derive(Debug, Serialize)]
pub struct FindingView {
    pub task: String,
    pub split: String,
    pub verdict: Verdict,
    pub word: &'static str,
    pub sign: &'static str,
    pub reason: String,
    pub mean: String,
    pub interval: String,
    pub p: String,
    /// `2 of 2`
    pub seeds: String,
    /// `7`, `> 1000` or `more prompts`
    pub seeds_needed: String,
    pub values: String,
}

#[derive(Debug, Serialize)]
pub struct ArmView {
    pub name: String,
    pub about: String,
    /// SVG.
    pub swatch: String,
}

#[derive(Debug, Serialize)]
pub struct TaskView {
    pub name: String,
    pub id: String,
    pub tables: Vec<Table>,
    /// Win rates and gold against KL, and the arms in these pictures.
    pub outcomes: Vec<Chart>,
    pub compared: Vec<ArmView>,
    /// Gold and proxy reward along training, and the arms in these pictures.
    pub along_kl: Vec<Chart>,
    pub overoptimized: Vec<ArmView>,
    /// Curves of training, and the arms that share a picture.
    pub training: Vec<Chart>,
    pub trained: Vec<ArmView>,
}

#[derive(Debug, Serialize)]
pub struct Term {
    pub title: String,
    pub name: String,
    pub unit: &'static str,
    pub about: String,
}

impl Page {
    pub fn new(
        params: &Params,
        all: &Observations,
        curves: &Curves,
        results: &Results,
        findings: &[Vec<Finding>],
    ) -> Self {
        let mut arms = all.arms.clone();
        let more: Vec<String> = curves.arms().filter(|a| !arms.contains(a)).cloned().collect();
        arms.extend(more);
        let claims =
            params.claims.iter().zip(findings).map(|(claim, findings)| ClaimView::of(claim, findings));
        Self {
            title: params.title.clone(),
            about: paragraphs(&params.about),
            notes: params.notes.clone(),
            limits: limits(params, all, curves),
            asks_for_seeds: params.claims.iter().any(|c| c.expect.unit().is_share()),
            tally: tally(findings),
            claims: claims.collect(),
            tasks: tasks(params, all, curves, results, &arms),
            arms: arms.iter().enumerate().map(|(i, name)| arm(params, i, name)).collect(),
            glossary: glossary(all),
            confidence: format!("{}\u{a0}%", rounded(100.0 * params.confidence, 1).trim_end_matches(".0")),
            resamples: params.resamples,
            families: families(&params.claims, findings),
            highlight: highlight(params, &arms).join(", "),
        }
    }
}

fn paragraphs(text: &str) -> Vec<String> {
    text.split("\n\n").map(|p| p.trim().to_string()).filter(|p| !p.is_empty()).collect()
}

fn arm(params: &Params, i: usize, name: &str) -> ArmView {
    let about = params.arms.iter().find(|a| a.name == name).map(|a| a.about.clone());
    ArmView { name: name.into(), about: about.unwrap_or_default(), swatch: chart::swatch(Series(i)) }
}

/// What is to be highlighted, as far as it was measured.
fn highlight(params: &Params, arms: &[String]) -> Vec<String> {
    params.highlight.iter().filter(|a| arms.contains(a)).cloned().collect()
}

fn tasks(
    params: &Params,
    all: &Observations,
    curves: &Curves,
    results: &Results,
    arms: &[String],
) -> Vec<TaskView> {
    let mut names = all.tasks.clone();
    let more: Vec<String> = curves.tasks().filter(|t| !names.contains(t)).cloned().collect();
    names.extend(more);
    let highlight = &highlight(params, arms);
    let view = |(i, name): (usize, String)| {
        let id = format!("task-{}", i + 1);
        let pictures = pictures::Pictures { id: &id, task: &name, all, curves, results, arms, highlight };
        let of = |drawn: &dyn Fn(&str) -> bool| {
            let drawn = arms.iter().enumerate().filter(|(_, a)| drawn(a));
            drawn.map(|(i, a)| arm(params, i, a)).collect()
        };
        TaskView {
            tables: tables(&name, all, results),
            compared: of(&|a| pictures.is_compared(a)),
            outcomes: pictures.outcomes(),
            overoptimized: of(&|a| pictures.is_overoptimized(a)),
            along_kl: pictures.along_kl(),
            trained: of(&|a| pictures.is_trained(a)),
            training: pictures.training(),
            id: id.clone(),
            name: name.clone(),
        }
    };
    names.into_iter().enumerate().map(view).collect()
}

fn glossary(all: &Observations) -> Vec<Term> {
    let mut names: Vec<&str> = all.cells.keys().map(|c| c.metric.as_str()).collect();
    names.sort_by_key(|n| Metric::rank(n));
    names.dedup();
    let term = |name: &str| {
        let Metric { title, unit, about, .. } = Metric::of(name);
        Term { title, name: name.into(), unit: unit.label(), about }
    };
    names.into_iter().map(term).collect()
}

/// What a careful reader would ask, answered from the data.
fn limits(params: &Params, all: &Observations, curves: &Curves) -> Vec<String> {
    let seeds = all.seeds().len();
    let mut limits = vec![match seeds {
        1 => "There is one seed: intervals cover the choice of prompts and nothing of what another training run \
              would give."
            .to_string(),
        2 | 3 => format!(
            "There are {seeds} seeds, which say little of how seeds vary: intervals and p-values allow for that by \
             Student\u{2019}s t, and are wide. Where seeds vary much more than prompts do they are still too narrow: \
             of 95\u{a0}% intervals in simulations, {}\u{a0}% cover at worst.",
            if seeds == 2 { 89 } else { 92 }
        ),
        _ => format!("There are {seeds} seeds."),
    }];
    if params.claims.is_empty() {
        limits.push(
            "No claims were declared: whatever is read out of the tables was found after looking.".into(),
        );
    }
    match curves.not_finite() {
        0 => {}
        n => limits.push(format!(
            "{} of training curves are not finite, and missing in the pictures.",
            count(n, "point")
        )),
    }
    limits
}

/// In the order of their first claims.
fn families(claims: &[Claim], findings: &[Vec<Finding>]) -> Vec<Family> {
    let mut families: Vec<Family> = vec![];
    for (claim, findings) in claims.iter().zip(findings) {
        let counted = findings.iter().filter(|f| f.measured.is_some()).count();
        match families.iter_mut().find(|f| f.name == claim.family) {
            Some(family) => family.findings += counted,
            None => families.push(Family { name: claim.family.clone(), findings: counted }),
        }
    }
    families
}

fn tally(findings: &[Vec<Finding>]) -> Vec<Tally> {
    let all = [Verdict::Confirmed, Verdict::Refuted, Verdict::Inconclusive, Verdict::NotTested];
    let of = |verdict: Verdict| Tally {
        verdict,
        word: verdict.word(),
        sign: verdict.sign(),
        count: findings.iter().flatten().filter(|f| f.verdict == verdict).count(),
    };
    all.map(of).into()
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Inconclusive => "inconclusive",
            Self::NotTested => "not tested",
        }
    }

    /// Says the same as the word and the colour.
    fn sign(self) -> &'static str {
        match self {
            Self::Confirmed => "✓",
            Self::Refuted => "✗",
            Self::Inconclusive => "?",
            Self::NotTested => "–",
        }
    }
}

impl ClaimView {
    fn of(claim: &Claim, findings: &[Finding]) -> Self {
        Self {
            name: claim.name.clone(),
            text: claim.text.clone(),
            family: claim.family.clone(),
            expects: claim.expect.words(),
            requires: claim.requires.iter().map(Comparison::words).collect(),
            refuted_if: claim.refuted_if.clone(),
            of_share: claim.expect.unit().is_share(),
            unmeasured: unmeasured(findings),
            findings: findings.iter().map(|f| FindingView::of(claim, f)).collect(),
        }
    }
}

/// The reasons, each once, if none of the findings could be measured.
fn unmeasured(findings: &[Finding]) -> String {
    if findings.iter().any(|f| f.measured.is_some()) {
        return String::new();
    }
    let mut reasons: Vec<&str> = findings.iter().map(|f| f.reason.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons.join("; ")
}

impl FindingView {
    fn of(claim: &Claim, finding: &Finding) -> Self {
        let unit = claim.expect.unit();
        let of = |text: fn(&Measured, super::unit::Unit) -> String| {
            finding.measured.as_ref().map(|m| text(m, unit)).unwrap_or_default()
        };
        Self {
            task: finding.task.clone(),
            split: split_title(&finding.split),
            verdict: finding.verdict,
            word: finding.verdict.word(),
            sign: finding.verdict.sign(),
            reason: finding.reason.clone(),
            mean: of(|m, unit| unit.show(m.estimate.mean)),
            interval: of(|m, unit| {
                let e = &m.estimate;
                if e.has_interval() { range(unit, e.low, e.high) } else { String::new() }
            }),
            p: of(|m, _| m.p.map_or(String::new(), |p| p_value(p.corrected))),
            seeds: of(|m, _| format!("{} of {}", m.agreeing, m.estimate.seeds)),
            seeds_needed: of(|m, _| m.seeds_needed.map_or(String::new(), seeds_needed)),
            values: of(|m, _| m.estimate.values.to_string()),
        }
    }
}

fn seeds_needed(needed: SeedsNeeded) -> String {
    match needed {
        SeedsNeeded::Seeds(n) => n.to_string(),
        SeedsNeeded::TooMany => format!("> {MOST}"),
        SeedsNeeded::MoreItems => "more prompts".into(),
        SeedsNeeded::Unknown => String::new(),
    }
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".into() } else { rounded(p, 3) }
}
