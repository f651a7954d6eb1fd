//! `pipeline runs`.

use std::process::ExitCode;

use serde::Serialize;

use super::{args::RunsOptions, output, times::time};
use crate::{
    error::Result,
    history::{Begun, Git, History, Run},
    run::Summary,
};

#[derive(Serialize)]
struct Entry {
    id: String,
    experiment: String,
    file: String,
    profile: Option<String>,
    set: Vec<String>,
    only: Vec<String>,
    /// Seconds since 1970.
    started: u64,
    git: Option<Git>,
    #[serde(flatten)]
    summary: Summary,
}

impl From<Run> for Entry {
    fn from(run: Run) -> Self {
        let summary = run.summary();
        let Run { id, experiment, file, profile, set, only, started, git, .. } = run;
        Self { id, experiment, file, profile, set, only, started, git, summary }
    }
}

impl Entry {
    fn row(&self) -> Vec<String> {
        let Summary { total, ran, cached, failed, skipped, unfinished, seconds, interrupted, .. } =
            &self.summary;
        let mut what = format!("{ran} ran, {cached} cached of {total}");
        for (count, of) in [(failed, "failed"), (skipped, "skipped"), (unfinished, "unfinished")] {
            if *count > 0 {
                what.push_str(&format!(", {count} {of}"));
            }
        }
        if *interrupted {
            what.push_str(", interrupted");
        }
        let commit = self.git.as_ref().map_or(String::new(), |git| {
            format!("{}{}", git.commit.get(..10).unwrap_or(&git.commit), if git.dirty { "+" } else { "" })
        });
        vec![
            self.id.clone(),
            how(&self.experiment, self.profile.as_ref(), &self.set, &self.only),
            time(self.started),
            format!("{seconds:.1} s"),
            what,
            commit,
        ]
    }
}

/// The experiment, and what was selected or overridden.
fn how(experiment: &str, profile: Option<&String>, set: &[String], only: &[String]) -> String {
    let mut text = experiment.to_string();
    profile.into_iter().for_each(|profile| text += &format!(" ({profile})"));
    only.iter().for_each(|only| text += &format!(" --only {only}"));
    set.iter().for_each(|set| text += &format!(" --set {set}"));
    text
}

/// Of a run without a record.
fn row(begun: &Begun) -> Vec<String> {
    let Begun { id, experiment, profile, set, only, started, .. } = begun;
    let how = how(experiment, profile.as_ref(), set, only);
    vec![id.clone(), how, time(*started), String::new(), "killed, or still running".into(), String::new()]
}

pub fn run(options: &RunsOptions) -> Result<ExitCode> {
    let history = History::new(&options.cache.folder);
    let read = |id: &String| match history.read(id) {
        Ok(run) => Some(Entry::from(run)),
        Err(e) => {
            tracing::warn!("{e}");
            None
        }
    };
    let entries: Vec<Entry> = history.ids().iter().filter_map(read).collect();
    let unrecorded = history.unrecorded();
    if options.json {
        return output::json(&serde_json::json!({ "runs": entries, "unrecorded": unrecorded }));
    }
    let mut rows: Vec<Vec<String>> = entries.iter().map(Entry::row).collect();
    // Ids sort as runs began.
    rows.extend(unrecorded.iter().map(row));
    rows.sort_by(|a, b| b[0].cmp(&a[0]));
    output::text(&output::table(&["RUN", "EXPERIMENT", "STARTED", "TOOK", "INSTANCES", "COMMIT"], &rows))
}
