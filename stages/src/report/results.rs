//! `results.csv`: every mean of every seed, pooled means and their intervals, in one long table.

use std::{collections::BTreeMap, path::Path};

use polars::prelude::{Column, DataFrame, PolarsError, PolarsResult};
use rayon::prelude::*;

use super::{
    metric::Metric,
    observations::{Cell, Observations},
    params::Params,
};
use crate::{
    contract::{StageError, derive_seed},
    statistics::{Estimate, Seed},
};

/// Means of seeds, and of all seeds with their interval, cell by cell.
pub struct Results {
    pub estimates: BTreeMap<Cell, Estimate>,
    rows: Vec<Row>,
}

/// A row of the table.
type Row = (Cell, SeedColumn, f64);

/// Seeds in their order, then all of them together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SeedColumn {
    One(Seed),
    All,
}

impl Cell {
    /// The seed of a cell's resampling: its own, so that other cells and their order do not matter.
    pub fn bootstrap_seed(&self, seed: u64) -> u64 {
        derive_seed(seed, &format!("{:?}", (&self.task, &self.arm, &self.split, &self.metric)))
    }
}

impl Results {
    pub fn of(all: &Observations, params: &Params, seed: u64) -> Result<Self, StageError> {
        let cells: Vec<_> = all.cells.iter().collect();
        let estimates: BTreeMap<Cell, Estimate> = cells
            .into_par_iter()
            .map(|(cell, sample)| {
                let seed = cell.bootstrap_seed(seed);
                let bounds = Metric::of(&cell.metric).unit.bounds();
                (cell.clone(), sample.estimate(params.resamples, params.confidence, seed, bounds))
            })
            .collect();
        let mut rows =
            means(all).map_err(|e| StageError::because("the table of results cannot be made", e))?;
        for (cell, e) in estimates.iter().filter(|(_, e)| e.has_interval()) {
            for (bound, value) in [("low", e.low), ("high", e.high)] {
                let metric = format!("{}:{bound}", cell.metric);
                rows.push((Cell { metric, ..cell.clone() }, SeedColumn::All, value));
            }
        }
        rows.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        Ok(Self { estimates, rows })
    }

    /// Writes the columns `task,arm,split,seed,metric,value`. Pooled rows have the seed `all`; the bounds of an
    /// interval are the metrics `X:low` and `X:high`. Numbers are the shortest that read back the same.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let failed = |e| StageError::because("`results.csv` could not be written", e);
        let mut csv = csv::Writer::from_path(path).map_err(failed)?;
        csv.write_record(["task", "arm", "split", "seed", "metric", "value"]).map_err(failed)?;
        for (cell, seed, value) in &self.rows {
            let seed = match seed {
                SeedColumn::One(seed) => &seed.1,
                SeedColumn::All => "all",
            };
            let value = (value + 0.0).to_string(); // no `-0`
            csv.write_record([&cell.task, &cell.arm, &cell.split, seed, &cell.metric, &value])
                .map_err(failed)?;
        }
        csv.flush().map_err(|e| failed(e.into()))
    }
}

/// Means of seeds and the means of those. Cells and seeds travel as numbers: grouping them is cheap.
fn means(all: &Observations) -> PolarsResult<Vec<Row>> {
    let cells: Vec<&Cell> = all.cells.keys().collect();
    let seeds = all.seeds();
    let (mut cell, mut seed, mut value) = (vec![], vec![], vec![]);
    for (c, sample) in all.cells.values().enumerate() {
        for (name, items) in &sample.0 {
            let s = seeds.binary_search(&name).unwrap_or_default() as u32;
            cell.extend(std::iter::repeat_n(c as u32, items.len()));
            seed.extend(std::iter::repeat_n(s, items.len()));
            value.extend(items.values().copied());
        }
    }
    let columns = vec![
        Column::new("cell".into(), cell),
        Column::new("seed".into(), seed),
        Column::new("value".into(), value),
    ];
    let by_seed = mean_of(&DataFrame::new(columns)?, &["cell", "seed"])?;
    let pooled = mean_of(&by_seed, &["cell"])?;

    let name = |c: u32| cells[c as usize].clone();
    let (numbers, seed) = (|frame: &DataFrame, of: &str| u32s(frame, of), u32s(&by_seed, "seed")?);
    let one = numbers(&by_seed, "cell")?.into_iter().zip(seed).zip(f64s(&by_seed)?);
    let one = one.map(|((c, s), v)| (name(c), SeedColumn::One(seeds[s as usize].clone()), v));
    let together = numbers(&pooled, "cell")?.into_iter().zip(f64s(&pooled)?);
    Ok(one.chain(together.map(|(c, v)| (name(c), SeedColumn::All, v))).collect())
}

/// The mean of `value` in every group.
#[expect(deprecated, reason = "its successor needs the lazy engine, which compiles for minutes")]
fn mean_of(frame: &DataFrame, by: &[&str]) -> PolarsResult<DataFrame> {
    let mut means = frame.group_by_stable(by.iter().copied())?.select(["value"]).mean()?;
    means.rename("value_mean", "value".into())?;
    Ok(means)
}

fn u32s(frame: &DataFrame, column: &str) -> Result<Vec<u32>, PolarsError> {
    Ok(frame.column(column)?.u32()?.into_no_null_iter().collect())
}

fn f64s(frame: &DataFrame) -> Result<Vec<f64>, PolarsError> {
    Ok(frame.column("value")?.f64()?.into_no_null_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Sample;

    #[test]
    fn polars_and_the_bootstrap_mean_the_same() {
        let mut all = Observations::default();
        for (metric, scale) in [("gold", 1.0), ("kl", -3.0)] {
            let cell = Cell { task: "t".into(), arm: "a".into(), split: "in".into(), metric: metric.into() };
            let items = |n: u32| (0..n).map(|i| (i, scale * f64::from(i))).collect();
            let seeds = [("10", 3), ("2", 7)].map(|(seed, n)| (Seed::new(seed), items(n)));
            all.cells.insert(cell, Sample(seeds.into()));
        }
        let results = Results::of(&all, &Params { resamples: 100, ..Params::default() }, 1).unwrap();
        let text: Vec<String> = results
            .rows
            .iter()
            .filter(|(cell, ..)| !cell.metric.contains(':'))
            .map(|(cell, seed, value)| format!("{} {seed:?} {value}", cell.metric))
            .collect();
        assert_eq!(
            text,
            [
                "gold One(Seed(2, \"2\")) 3",
                "gold One(Seed(10, \"10\")) 1",
                "gold All 2",
                "kl One(Seed(2, \"2\")) -9",
                "kl One(Seed(10, \"10\")) -3",
                "kl All -6",
            ]
        );
        assert!(results.estimates.values().all(|e| [2.0, -6.0].contains(&e.mean)));
    }
}
