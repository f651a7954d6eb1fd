//! `pipeline diff`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use serde::Serialize;
use stages::contract::{Metrics, Registry};

use super::{
    args::DiffOptions,
    output,
    show::{makers, metrics, unreadable},
    times::time,
};
use crate::{
    error::Result,
    history::{History, Run},
    key::{Digest, Known, changes},
    run::Outcome,
    store::{Record, Store, code_change},
};

/// Of the metrics that differ, how many are shown unless all are asked for.
const SHOWN: usize = 20;

#[derive(Serialize)]
struct Diff {
    before: String,
    after: String,
    /// What differs between the experiments, profile and overrides merged.
    settings: Vec<String>,
    only_before: Vec<String>,
    only_after: Vec<String>,
    /// Instances of both runs that are not the same in them.
    instances: Vec<Changed>,
    /// How many are the same in both.
    same: usize,
    /// Of the instances that are not the same: where a metric differs, or only one has it; the greatest change, beside
    /// its size, first.
    metrics: Vec<Moved>,
}

#[derive(Serialize)]
struct Changed {
    instance: String,
    before: &'static str,
    after: &'static str,
    /// What differs between the keys.
    reasons: Vec<String>,
    /// The outputs whose content differs; none where one of the results is not there.
    outputs: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Moved {
    metric: String,
    before: Option<f64>,
    after: Option<f64>,
}

pub fn run(options: &DiffOptions, registry: &Registry) -> Result<ExitCode> {
    let (history, store) = (History::new(&options.cache.folder), Store::new(&options.cache.folder));
    let (before, after) = (history.find(&options.before)?, history.find(&options.after)?);
    let diff = Diff::of(&before, &after, &store, registry)?;
    if options.json {
        return output::json(&diff);
    }
    output::text(&diff.text(&before, &after, if options.all { usize::MAX } else { SHOWN }))
}

/// What the later run knows of contents.
struct OfRun<'a> {
    makers: BTreeMap<Digest, String>,
    store: &'a Store,
}

impl Known for OfRun<'_> {
    fn maker(&self, content: &Digest) -> Option<String> {
        self.makers.get(content).cloned()
    }

    fn code_change(&self, old: &str, new: &str) -> String {
        code_change(self.store.code(old).as_ref(), self.store.code(new).as_ref())
    }
}

impl Diff {
    fn of(before: &Run, after: &Run, store: &Store, registry: &Registry) -> Result<Self> {
        let of =
            |run: &Run| -> BTreeSet<String> { run.instances.iter().map(|o| o.instance.clone()).collect() };
        let (ours, theirs) = (of(before), of(after));
        let known = OfRun { makers: makers(after, store), store };
        // Not by the key alone: what failed then may have been made since.
        let record = |o: &Outcome| o.result().and_then(|key| store.record_of(key));
        let old: BTreeMap<&str, &Outcome> =
            before.instances.iter().map(|o| (o.instance.as_str(), o)).collect();
        let (mut instances, mut moved, mut same) = (vec![], vec![], 0);
        for new in &after.instances {
            let Some(old) = old.get(new.instance.as_str()) else { continue };
            let is_same = |a: &Outcome, b: &Outcome| match (a.result(), b.result()) {
                (None, None) => a.key == b.key && a.state == b.state,
                (a, b) => a == b,
            };
            if is_same(old, new) {
                same += 1;
                continue;
            }
            let (mut reasons, mut outputs) = (vec![], None);
            let records = [record(old), record(new)];
            let is_gone = |o: &Outcome, record: &Option<Record>| o.result().is_some() && record.is_none();
            let gone = is_gone(old, &records[0]) || is_gone(new, &records[1]);
            if let [Some(a), Some(b)] = records {
                reasons = b.key.differences(&a.key, &known);
                let differing = differing(&a, &b);
                moved.extend(moves(&new.instance, [&a, &b], &differing, store, registry)?);
                outputs = Some(differing);
            }
            if gone {
                reasons.push("its result is gone or damaged".into());
            }
            let (before, after) = (old.state.word(), new.state.word());
            instances.push(Changed { instance: new.instance.clone(), before, after, reasons, outputs });
        }
        let is_nan = |x: Option<f64>| x.is_some_and(f64::is_nan);
        moved.retain(|m| m.before != m.after && !(is_nan(m.before) && is_nan(m.after)));
        moved.sort_by(|a, b| b.size().total_cmp(&a.size()));
        Ok(Self {
            before: before.id.clone(),
            after: after.id.clone(),
            settings: changes("", &before.resolved, &after.resolved),
            only_before: ours.difference(&theirs).cloned().collect(),
            only_after: theirs.difference(&ours).cloned().collect(),
            instances,
            same,
            metrics: moved,
        })
    }

    fn text(&self, before: &Run, after: &Run, most: usize) -> String {
        let mut text = String::new();
        for (name, run) in [("before", before), ("after", after)] {
            let git = run.git.as_ref().map_or(String::new(), |git| {
                format!(", commit {}{}", git.commit, if git.dirty { " with changes" } else { "" })
            });
            text.push_str(&format!("{name:<7} {}  {}{git}\n", run.id, time(run.started)));
        }
        let mut section = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                text.push_str(&format!("\n{title}\n"));
                lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
            }
        };
        section("settings", self.settings.clone());
        section("only before", self.only_before.clone());
        section("only after", self.only_after.clone());
        let changed = |c: &Changed| {
            let reasons = match c.reasons.as_slice() {
                [] => format!("{} -> {}", c.before, c.after),
                reasons => reasons.join("; "),
            };
            let outputs = match c.outputs.as_deref() {
                None => String::new(),
                Some([]) => ": the same outputs".into(),
                Some(outputs) => format!(": other {}", outputs.join(", ")),
            };
            format!("{}  {reasons}{outputs}", c.instance)
        };
        section("instances that differ", self.instances.iter().map(changed).collect());
        let rows: Vec<Vec<String>> = self.metrics.iter().take(most).map(Moved::row).collect();
        let table = output::table(&["METRIC", "BEFORE", "AFTER", "CHANGE"], &rows);
        if !rows.is_empty() {
            section("metrics that differ", table.lines().map(String::from).collect());
        }
        let more = self.metrics.len().saturating_sub(most);
        if more > 0 {
            text.push_str(&format!("  and {more} more: `--all` shows them\n"));
        }
        text.push_str(&format!(
            "\n{} instances are the same in both, {} differ\n",
            self.same,
            self.instances.len()
        ));
        text
    }
}

/// Outputs of both that do not have the same content.
fn differing(before: &Record, after: &Record) -> Vec<String> {
    let differs = |name: &&String| {
        before.outputs.get(*name).map(|s| &s.content) != after.outputs.get(*name).map(|s| &s.content)
    };
    let names: BTreeSet<&String> = before.outputs.keys().chain(after.outputs.keys()).collect();
    names.iter().filter(|name| differs(name)).map(|name| (*name).clone()).collect()
}

/// The metrics of the named outputs that differ.
fn moves(
    instance: &str,
    [before, after]: [&Record; 2],
    outputs: &[String],
    store: &Store,
    registry: &Registry,
) -> Result<Vec<Moved>> {
    let read = |record: &Record, output: &String| match record.outputs.get(output) {
        Some(stored) => metrics(stored, store, registry).map_err(|e| unreadable(instance, output, e)),
        None => Ok(Metrics::new()),
    };
    let mut moved = vec![];
    for output in outputs {
        let (old, new) = (read(before, output)?, read(after, output)?);
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        moved.extend(names.into_iter().map(|name| Moved {
            metric: format!("{instance}/{name}"),
            before: old.get(name).copied(),
            after: new.get(name).copied(),
        }));
    }
    Ok(moved)
}

impl Moved {
    /// The change as a share of the greater of both; what is no number any more comes first, what one of them lacks last.
    fn size(&self) -> f64 {
        let (Some(before), Some(after)) = (self.before, self.after) else { return -1.0 };
        let share = (after - before).abs() / before.abs().max(after.abs());
        if share.is_finite() { share } else { f64::INFINITY }
    }

    fn row(&self) -> Vec<String> {
        // As many digits as show the change.
        let change = self.before.zip(self.after).map(|(before, after)| after - before);
        let digits = change.map_or(4.0, |change| 1.0 - change.abs().log10().floor());
        let digits = if digits.is_finite() { digits.clamp(4.0, 17.0) as usize } else { 4 };
        let number = |x: f64| if x.abs() < 1e9 { format!("{x:.digits$}") } else { format!("{x:.digits$e}") };
        let cell = |x: Option<f64>| x.map_or("-".into(), number);
        let sign = if change.is_some_and(|change| change > 0.0) { "+" } else { "" };
        vec![self.metric.clone(), cell(self.before), cell(self.after), format!("{sign}{}", cell(change))]
    }
}
