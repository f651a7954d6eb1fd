//! The measurements of all runs, by what they are measurements of.

use std::collections::BTreeMap;

use super::{metric::opponent, params::Params};
use crate::{
    contract::{Artifact, Context, StageError},
    dataset::{self, Measurement},
    names::list,
    statistics::{Sample, Seed},
};

/// One quantity: what has a mean.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub task: String,
    pub arm: String,
    pub split: String,
    pub metric: String,
}

/// Every measurement, and tasks and arms in the order in which they are shown.
#[derive(Debug, Default)]
pub struct Observations {
    pub tasks: Vec<String>,
    pub arms: Vec<String>,
    pub cells: BTreeMap<Cell, Sample>,
}

/// Where an artifact stands on the axes of tasks and seeds.
pub fn place(artifact: &Artifact, params: &Params) -> (String, Seed) {
    let at = |axis: &str, default: &str| artifact.coordinates.get(axis).map_or(default, |v| v).to_string();
    (at(&params.task_axis, "all"), Seed::new(&at(&params.seed_axis, "1")))
}

impl Observations {
    /// Reads the input `measurements`.
    ///
    /// # Errors
    /// A file that cannot be read, a value that is not finite, and the same measurement twice.
    pub fn read(ctx: &Context, params: &Params) -> Result<Self, StageError> {
        let mut all = Self { arms: params.arms.iter().map(|a| a.name.clone()).collect(), ..Self::default() };
        let artifacts = ctx.many("measurements");
        for (i, artifact) in artifacts.iter().enumerate() {
            let (task, seed) = place(artifact, params);
            for m in dataset::read::<Measurement>(&artifact.path)? {
                all.add(&task, &seed, m)?;
            }
            ctx.progress(i + 1, artifacts.len(), "artifacts", &[]);
        }
        // What is only declared has no place in tables and pictures.
        let measured: Vec<String> = all.arms.iter().filter(|a| all.has_arm(a)).cloned().collect();
        all.arms = measured;
        if all.cells.is_empty() {
            return Err(StageError::new("there are no measurements to report")
                .hint("give the input `measurements` at least one dataset with rows"));
        }
        Ok(all)
    }

    fn add(&mut self, task: &str, seed: &Seed, m: Measurement) -> Result<(), StageError> {
        let item = m.item;
        let found = |m: &Cell| {
            format!(
                "`{}` of arm `{}`, task `{}`, split `{}`, seed `{}`, item {item}",
                m.metric, m.arm, m.task, m.split, seed.1
            )
        };
        let cell = Cell { task: task.into(), arm: m.arm, split: m.split, metric: m.metric };
        if !m.value.is_finite() {
            return Err(StageError::new(format!("the value of {} is {}", found(&cell), m.value))
                .hint("a measurement must be a finite number: look at the stage that made it"));
        }
        remember(&mut self.tasks, task);
        remember(&mut self.arms, &cell.arm);
        let items = self.cells.entry(cell.clone()).or_default().0.entry(seed.clone()).or_default();
        if items.insert(item, f64::from(m.value)).is_some() {
            return Err(StageError::new(format!("there are two measurements of {}", found(&cell))).hint(
                "give every arm a name of its own (`arm: \"ppo-${objective}\"`), and list no input twice",
            ));
        }
        Ok(())
    }

    pub fn get(&self, task: &str, arm: &str, split: &str, metric: &str) -> Option<&Sample> {
        let of = |s: &str| s.to_string();
        self.cells.get(&Cell { task: of(task), arm: of(arm), split: of(split), metric: of(metric) })
    }

    /// Why there is nothing at a cell: the first of task, arm, metric and split that is not there, and what is.
    pub fn why_missing(&self, cell: &Cell) -> String {
        let list = |of: fn(&Cell) -> &String, among: &dyn Fn(&Cell) -> bool| {
            let mut names: Vec<&str> =
                self.cells.keys().filter(|c| among(c)).map(|c| of(c).as_str()).collect();
            names.sort_unstable();
            names.dedup();
            list(names)
        };
        let (task, arm, metric) = (&cell.task, &cell.arm, &cell.metric);
        let in_task = |c: &Cell| c.task == *task;
        let of_arm = |c: &Cell| in_task(c) && c.arm == *arm;
        let of_metric = |c: &Cell| of_arm(c) && c.metric == *metric;
        if !self.cells.keys().any(in_task) {
            format!("there is no task `{task}` among {}", list(|c| &c.task, &|_| true))
        } else if !self.cells.keys().any(of_arm) {
            format!("there is no arm `{arm}` among {}", list(|c| &c.arm, &in_task))
        } else if let Some(other) = opponent(metric)
            && !self.cells.keys().any(|c| in_task(c) && c.arm == other)
        {
            format!("there is no arm `{other}` among {}", list(|c| &c.arm, &in_task))
        } else if !self.cells.keys().any(of_metric) {
            format!("arm `{arm}` has no metric `{metric}` among {}", list(|c| &c.metric, &of_arm))
        } else {
            let splits = list(|c| &c.split, &of_metric);
            format!("`{metric}` of arm `{arm}` has no split `{}` among {splits}", cell.split)
        }
    }

    pub fn seeds(&self) -> Vec<&Seed> {
        let mut seeds: Vec<&Seed> = self.cells.values().flat_map(|s| s.0.keys()).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds
    }

    fn has_arm(&self, arm: &str) -> bool {
        self.cells.keys().any(|c| c.arm == arm)
    }
}

fn remember(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|n| n == name) {
        names.push(name.into());
    }
}
