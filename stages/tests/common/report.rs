//! An experiment whose right answers are known, and its report.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::{Value, json};
use stages::{
    contract::{Artifact, StageError},
    dataset::{self, CurvePoint, Measurement, Row},
};

use super::{Gathered, Workshop};

/// Inputs of a report, written into a workshop.
pub struct Inputs {
    pub workshop: Workshop,
    pub measurements: Vec<Artifact>,
    pub curves: Vec<Artifact>,
}

impl Inputs {
    pub fn new() -> Self {
        Self { workshop: Workshop::new(), measurements: vec![], curves: vec![] }
    }

    pub fn artifact<R: Row>(&self, rows: &[R], at: &[(&str, &str)]) -> Artifact {
        let count = self.measurements.len() + self.curves.len();
        let path = self.workshop.folder.path().join(format!("input-{count}"));
        dataset::write(&path, rows).unwrap();
        Artifact { path, coordinates: at.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect() }
    }

    pub fn measure(&mut self, at: &[(&str, &str)], rows: &[Measurement]) {
        let artifact = self.artifact(rows, at);
        self.measurements.push(artifact);
    }

    pub fn draw(&mut self, at: &[(&str, &str)], rows: &[CurvePoint]) {
        let artifact = self.artifact(rows, at);
        self.curves.push(artifact);
    }

    pub fn try_report(&self, name: &str, params: Value) -> Result<PathBuf, StageError> {
        let inputs: [Gathered; 2] =
            [("measurements", self.measurements.clone()), ("curves", self.curves.clone())];
        self.workshop.try_gather(name, "report", params, &inputs)
    }

    pub fn report(&self, params: Value) -> Report {
        Report::read(self.try_report("report", params).unwrap())
    }
}

#[derive(PartialEq)]
pub struct Report {
    pub html: String,
    pub markdown: String,
    pub csv: String,
    pub verdicts: String,
}

impl Report {
    pub fn read(folder: PathBuf) -> Self {
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        Self {
            html: text("index.html"),
            markdown: text("report.md"),
            csv: text("results.csv"),
            verdicts: text("verdicts.csv"),
        }
    }

    /// Value by `task,arm,split,seed,metric`.
    pub fn values(&self) -> BTreeMap<String, f64> {
        let lines = self.csv.lines().skip(1).map(|l| l.rsplit_once(',').unwrap());
        lines.map(|(key, value)| (key.to_string(), value.parse().unwrap())).collect()
    }
}

pub fn row(arm: &str, split: &str, item: u32, metric: &str, value: f32) -> Measurement {
    Measurement { arm: arm.into(), split: split.into(), item, metric: metric.into(), value }
}

/// Two tasks and two seeds. In `easy`, `b` wins 4 of 5 times against `a`; in `hard`, half the time. `a` is 3
/// tokens too long, `b` is 1; `c` is measured in `easy` only.
pub fn experiment() -> Inputs {
    let mut inputs = Inputs::new();
    for task in ["hard", "easy"] {
        for (s, seed) in ["10", "2"].into_iter().enumerate() {
            let mut rows = vec![];
            for i in 0..60 {
                for split in ["out", "in"] {
                    let gold = 0.25 * (i % 4) as f32;
                    let wins = if task == "easy" { i % 5 != 0 } else { (i + s as u32).is_multiple_of(2) };
                    let wins = if wins { 1.0 } else { 0.0 };
                    rows.push(row("a", split, i, "gold", gold));
                    rows.push(row("b", split, i, "gold", gold + 0.125 * wins));
                    rows.push(row("b", split, i, "win_vs_a", wins));
                    rows.push(row("a", split, i, "win_vs_b", 1.0 - wins));
                    let ideal = 4.0 + (i % 3) as f32;
                    let around_0 = if i / 2 % 2 == 0 { 0.25 } else { -0.25 };
                    for (arm, excess, more) in [("a", 3.0, around_0), ("b", 1.0, 0.0)] {
                        let length = ideal + excess + more + 0.5 * ((i + s as u32) % 2) as f32;
                        rows.push(row(arm, split, i, "length", length));
                        rows.push(row(arm, split, i, "ideal_length", ideal));
                        rows.push(row(arm, split, i, "kl", excess));
                    }
                    if task == "easy" {
                        rows.push(row("c", split, i, "gold", gold));
                    }
                }
            }
            inputs.measure(&[("task", task), ("seed", seed)], &rows);
            let point = |metric: &str, step: u32, value: f32| CurvePoint {
                arm: "b".into(),
                step,
                metric: metric.into(),
                value,
            };
            let curve = (1..20).flat_map(|t| {
                let x = t as f32 / 20.0;
                [
                    point("reward", t, x.sqrt() + 0.1 * s as f32),
                    point("kl", t, 2.0 * x),
                    point("loss", t, 1.0 - x),
                ]
            });
            inputs.draw(&[("task", task), ("seed", seed)], &curve.collect::<Vec<_>>());
        }
    }
    inputs
}

pub fn claims() -> Value {
    let excess = |arm: &str, above: f64| json!({ "metric": "length", "minus": "ideal_length", "arm": arm, "above": above });
    json!([
        { "name": "wins", "text": "b beats a", "refuted_if": "it loses", "splits": ["in"],
          "expect": { "metric": "win_vs_a", "arm": "b", "above": 0.5 } },
        { "name": "loses", "text": "b loses against a", "splits": ["in"], "tasks": ["easy"],
          "expect": { "metric": "win_vs_a", "arm": "b", "below": 0.5 } },
        { "name": "shorter", "text": "b is less too long than a", "splits": ["out"],
          "expect": { "metric": "length", "minus": "ideal_length", "arm": "b", "baseline": "a", "below": 0.0 },
          "requires": [excess("a", 1.0)] },
        { "name": "premise", "text": "the same where its premise fails", "splits": ["in"], "tasks": ["easy"],
          "expect": excess("b", 0.5), "requires": [excess("a", 5.0)] },
        { "name": "ceiling", "text": "the ceiling is higher", "splits": ["in"],
          "expect": { "metric": "gold", "arm": "ceiling", "baseline": "b", "above": 0.0 } },
        { "name": "elsewhere", "text": "b wins in another task", "tasks": ["other"], "splits": ["in"],
          "expect": { "metric": "win_vs_a", "arm": "b", "above": 0.5 } },
    ])
}

pub fn params() -> Value {
    json!({ "title": "A test", "about": "One.\n\nTwo.", "resamples": 1200, "claims": claims(),
            "arms": [{ "name": "a", "about": "the baseline" }, { "name": "b" }, { "name": "unheard" }] })
}
