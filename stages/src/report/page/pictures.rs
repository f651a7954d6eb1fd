//! Which pictures a task gets, and what is written on them.

use std::collections::BTreeMap;

use crate::report::{
    chart::{Chart, Group, Interval, Labels, Line, Series, forest, lines, scatter},
    curves::{Curve, Curves},
    metric::opponent,
    observations::{Cell, Observations},
    results::Results,
    tables::{range, split_rank, split_title},
    unit::Unit,
};
use crate::{
    names::list,
    statistics::{Estimate, Sample, Seed},
};

mod along_kl;

const KL: &str = "KL to the reference, nats";

/// The curves of PPO that are shown, with their titles and units.
const CURVES: [(&str, &str, &str); 4] = [
    ("reward", "Reward", "reward as PPO sees it"),
    ("kl", "KL to the reference", "nats"),
    ("length", "Length", "tokens"),
    ("entropy", "Entropy", "nats"),
];

pub struct Pictures<'a> {
    /// Of the task, for the ids of its pictures.
    pub id: &'a str,
    pub task: &'a str,
    pub all: &'a Observations,
    pub curves: &'a Curves,
    pub results: &'a Results,
    pub arms: &'a [String],
    /// The arms whose pairs are in the picture of win rates; all if there are none.
    pub highlight: &'a [String],
}

impl Pictures<'_> {
    /// Win rates; then gold against KL, split by split.
    pub fn outcomes(&self) -> Vec<Chart> {
        let mut splits: Vec<&str> =
            self.all.cells.keys().filter(|c| c.task == self.task).map(|c| c.split.as_str()).collect();
        splits.sort_by_key(|s| split_rank(s));
        splits.dedup();
        let scatters = splits.iter().filter_map(|s| self.gold_against_kl(s));
        self.win_rates(&splits).into_iter().chain(scatters).collect()
    }

    /// Curves of PPO, reward against KL, and the losses of what was trained by likelihood.
    pub fn training(&self) -> Vec<Chart> {
        let ppo = CURVES.iter().filter_map(|(metric, title, unit)| {
            let arms = self.curves.of(self.task, metric)?;
            let labels = self.labels(metric, title, "update", unit, arms.keys());
            Some(lines(&labels, &arms.iter().map(|(arm, curve)| self.line(arm, curve)).collect::<Vec<_>>()))
        });
        let losses = [("loss", "Training"), ("held_out_loss", "Held-out")].into_iter();
        let losses = losses.flat_map(|(metric, of)| {
            self.curves.of(self.task, metric).into_iter().flatten().map(move |(arm, curve)| {
                let number = self.series(arm).0;
                let title = format!("{of} loss of {arm}");
                let labels = self.labels(&format!("{metric}-{number}"), &title, "step", "loss", [arm]);
                lines(&labels, &[self.line(arm, curve)])
            })
        });
        ppo.chain(self.reward_against_kl()).chain(losses).collect()
    }

    /// Whether the arm is in a picture of outcomes.
    pub fn is_compared(&self, arm: &str) -> bool {
        let of_outcomes = |c: &Cell| c.metric == "gold" || opponent(&c.metric).is_some();
        self.all.cells.keys().any(|c| c.task == self.task && c.arm == arm && of_outcomes(c))
    }

    /// Whether the arm is in a picture of training together with others. Losses have a picture each.
    pub fn is_trained(&self, arm: &str) -> bool {
        CURVES.iter().any(|(m, ..)| self.curves.of(self.task, m).is_some_and(|c| c.contains_key(arm)))
    }

    /// Each pair of arms once, if one of them is to be seen: the later one against the earlier one, where both
    /// directions were measured.
    fn win_rates(&self, splits: &[&str]) -> Option<Chart> {
        let place = |arm: &str| self.arms.iter().position(|a| a == arm);
        let seen = |arm: &str| self.highlight.is_empty() || self.highlight.iter().any(|a| a == arm);
        let mut pairs: Vec<(&String, &str, &String)> = vec![];
        for cell in self.all.cells.keys().filter(|c| c.task == self.task) {
            let Some(other) = opponent(&cell.metric) else { continue };
            if !seen(&cell.arm) && !seen(other) {
                continue;
            }
            let mirrored = self.all.cells.keys().any(|c| {
                c.task == self.task && c.arm == other && opponent(&c.metric) == Some(cell.arm.as_str())
            });
            if !mirrored || place(&cell.arm) > place(other) {
                pairs.push((&cell.arm, other, &cell.metric));
            }
        }
        pairs.sort_by_key(|(arm, other, _)| (place(arm), place(other)));
        pairs.dedup();
        let block = |(arm, other, metric): (&String, &str, &String)| {
            let rows = splits.iter().filter_map(|split| {
                let e = self.estimate(arm, split, metric)?;
                let text = format!("{} ({})", Unit::Share.show(e.mean), range(Unit::Share, e.low, e.high));
                let label = split.to_string();
                Some(Interval { label, value: e.mean, low: e.low, high: e.high, text })
            });
            (format!("{arm} against {other}"), self.series(arm), rows.collect())
        };
        let blocks: Vec<_> = pairs.into_iter().map(block).collect();
        let labels =
            self.labels("wins", "Win rates by the oracle", "wins, %", "", blocks.iter().map(|b| &b.0));
        (!blocks.is_empty()).then(|| forest(&labels, &blocks))
    }

    fn gold_against_kl(&self, split: &str) -> Option<Chart> {
        let mut groups = vec![];
        let mut arms = vec![];
        for arm in self.arms {
            let (Some(gold), Some(kl)) = (self.sample(arm, split, "gold"), self.sample(arm, split, "kl"))
            else {
                continue;
            };
            let (y, x) = (self.estimate(arm, split, "gold")?, self.estimate(arm, split, "kl")?);
            let seeds = kl.seed_means().filter_map(|(seed, x)| Some((x, gold_of(gold, seed)?)));
            groups.push(Group {
                series: self.series(arm),
                seeds: seeds.collect(),
                mean: (x.mean, y.mean),
                bounds: [(x.low, x.high), (y.low, y.high)],
            });
            arms.push(arm);
        }
        let title = format!("Gold against KL, {}", split_title(split));
        let id = format!("gold-{}", split_rank(split).0);
        let labels = self.labels(&id, &title, KL, "gold score", arms);
        (!groups.is_empty()).then(|| scatter(&labels, &groups))
    }

    /// Mean reward at each update against the mean KL at the same update.
    fn reward_against_kl(&self) -> Option<Chart> {
        let (rewards, kls) = (self.curves.of(self.task, "reward")?, self.curves.of(self.task, "kl")?);
        let arms = rewards.iter().filter_map(|(arm, reward)| Some((arm, reward, kls.get(arm)?)));
        let drawn: Vec<Line> = arms.map(|(arm, reward, kl)| self.path(arm, reward, kl, |kl| kl)).collect();
        let title = "Reward against KL in training";
        let labels = self.labels("path", title, KL, "reward as PPO sees it", rewards.keys());
        (!drawn.is_empty()).then(|| lines(&labels, &drawn))
    }

    /// One curve against another at the same steps.
    fn path(&self, arm: &str, y: &Curve, x: &Curve, place: fn(f64) -> f64) -> Line {
        let join = |y: &BTreeMap<u32, f64>, x: &BTreeMap<u32, f64>| -> Vec<(f64, f64)> {
            y.iter().filter_map(|(step, y)| Some((place(*x.get(step)?), *y))).collect()
        };
        let seeds = y.iter().filter_map(|(seed, y)| Some(join(y, x.get(seed)?)));
        Line { series: self.series(arm), seeds: seeds.collect(), mean: join(&mean(y), &mean(x)) }
    }

    fn line(&self, arm: &str, curve: &Curve) -> Line {
        let points = |steps: &BTreeMap<u32, f64>| steps.iter().map(|(x, y)| (f64::from(*x), *y)).collect();
        let mean = mean(curve);
        Line { series: self.series(arm), seeds: curve.values().map(points).collect(), mean: points(&mean) }
    }

    fn labels<'a>(
        &self,
        id: &str,
        title: &str,
        x: &str,
        y: &str,
        of: impl IntoIterator<Item = &'a String>,
    ) -> Labels {
        let of = list(of.into_iter().map(String::as_str)).replace('`', "");
        Labels {
            id: format!("{}-{id}", self.id),
            title: title.into(),
            description: format!("{title}, task {}: {of}. The tables hold the numbers.", self.task),
            x: x.into(),
            y: y.into(),
        }
    }

    fn series(&self, arm: &str) -> Series {
        Series(self.arms.iter().position(|a| a == arm).unwrap_or(self.arms.len()))
    }

    fn cell(&self, arm: &str, split: &str, metric: &str) -> Cell {
        Cell { task: self.task.into(), arm: arm.into(), split: split.into(), metric: metric.into() }
    }

    fn estimate(&self, arm: &str, split: &str, metric: &str) -> Option<&Estimate> {
        self.results.estimates.get(&self.cell(arm, split, metric))
    }

    fn sample(&self, arm: &str, split: &str, metric: &str) -> Option<&Sample> {
        self.all.cells.get(&self.cell(arm, split, metric))
    }
}

fn gold_of(gold: &Sample, seed: &Seed) -> Option<f64> {
    gold.seed_means().find(|(s, _)| *s == seed).map(|(_, y)| y)
}

/// The mean over seeds at the steps that all seeds have.
fn mean(curve: &Curve) -> BTreeMap<u32, f64> {
    let Some(first) = curve.values().next() else { return BTreeMap::new() };
    let at = |step: &u32| {
        let values: Option<Vec<f64>> = curve.values().map(|c| c.get(step).copied()).collect();
        values.map(|v| (*step, v.iter().sum::<f64>() / v.len() as f64))
    };
    first.keys().filter_map(at).collect()
}
