//! The tables of a task: arms by metrics, one table for each kind of question.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    metric::{Metric, Section},
    observations::{Cell, Observations},
    results::Results,
    unit::Unit,
};

#[derive(Debug, Serialize)]
pub struct Table {
    pub title: &'static str,
    /// What to read in it.
    pub about: &'static str,
    pub columns: Vec<Column>,
    pub groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
pub struct Column {
    pub title: String,
    pub unit: &'static str,
    pub about: String,
}

/// The rows of a split.
#[derive(Debug, Serialize)]
pub struct Group {
    pub split: String,
    pub rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub arm: String,
    /// One for each column; none where nothing was measured.
    pub cells: Vec<Option<Shown>>,
}

/// A mean and its interval, as text.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub mean: String,
    /// `a to b`; empty where there is no interval.
    pub interval: String,
    pub seeds: usize,
    pub values: usize,
}

const SECTIONS: [(Section, &str, &str); 8] = [
    (Section::Quality, "Quality", "The oracle's score, what it would be by chance, and who wins."),
    (Section::Behaviour, "Behaviour", "What the policies do, whatever it is worth."),
    (
        Section::RewardModel,
        "Reward models",
        "On held-out pairs, against the annotator's labels; nothing here needs gold.",
    ),
    (
        Section::Evidence,
        "What reward models reward",
        "On responses that the oracle has judged word by word; training never sees this.",
    ),
    (
        Section::Annotator,
        "Annotator",
        "What the labels reward. Training never sees this; it says how biased labels are.",
    ),
    (
        Section::Imitation,
        "Imitation",
        "How well the policy that all arms start from imitates demonstrations.",
    ),
    (
        Section::Selection,
        "Selection",
        "Trials of a grid that was declared before, and what one of them was selected by; gold has no part in it.",
    ),
    (Section::Other, "Other measurements", "Measured, and not described in this report."),
];

/// The tables of a task that have something in them.
pub fn tables(task: &str, all: &Observations, results: &Results) -> Vec<Table> {
    let tables = SECTIONS.into_iter().map(|(section, title, about)| {
        let here = |c: &&Cell| c.task == task && Metric::of(&c.metric).section == section;
        let cells: Vec<&Cell> = all.cells.keys().filter(here).collect();
        let mut metrics: Vec<&str> = unique(cells.iter().map(|c| c.metric.as_str()));
        metrics.sort_by_key(|m| Metric::rank(m));
        let mut splits: Vec<&str> = unique(cells.iter().map(|c| c.split.as_str()));
        splits.sort_by_key(|s| split_rank(s));
        let groups = splits.into_iter().map(|split| Group {
            split: split_title(split),
            rows: all
                .arms
                .iter()
                .filter(|arm| cells.iter().any(|c| c.arm == **arm && c.split == split))
                .map(|arm| Row {
                    arm: arm.clone(),
                    cells: metrics.iter().map(|m| shown(results, task, arm, split, m)).collect(),
                })
                .collect(),
        });
        Table { title, about, columns: metrics.iter().map(|m| column(m)).collect(), groups: groups.collect() }
    });
    tables.filter(|t| !t.groups.is_empty()).collect()
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

fn column(metric: &str) -> Column {
    let Metric { title, unit, about, .. } = Metric::of(metric);
    Column { title, unit: unit.label(), about }
}

fn shown(results: &Results, task: &str, arm: &str, split: &str, metric: &str) -> Option<Shown> {
    let cell = Cell { task: task.into(), arm: arm.into(), split: split.into(), metric: metric.into() };
    let e = results.estimates.get(&cell)?;
    // The unit stands in the head of the column.
    let unit = Metric::of(metric).unit;
    let interval = if e.has_interval() { range(unit, e.low, e.high) } else { String::new() };
    Some(Shown { mean: unit.number(e.mean), interval, seeds: e.seeds, values: e.values })
}

/// `a to b`, without the percent sign that its mean or its column has already.
pub fn range(unit: Unit, low: f64, high: f64) -> String {
    format!("{} to {}", unit.number(low), unit.number(high))
}

/// Splits in the order in which they are best read.
pub fn split_rank(split: &str) -> (usize, &str) {
    let at = ["in", "out"].iter().position(|s| *s == split).unwrap_or(2);
    (at, split)
}

pub fn split_title(split: &str) -> String {
    match split {
        "in" => "in distribution".into(),
        "out" => "out of distribution".into(),
        other => format!("split {other}"),
    }
}
