//! `pipeline show`.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use indicatif::HumanBytes;
use serde::Serialize;
use serde_json::Value;
use stages::contract::{Metrics, Registry};

use super::{args::ShowOptions, output, times::time};
use crate::{
    error::{Error, Result},
    experiment::did_you_mean,
    history::{Git, History, Run},
    key::Digest,
    run::Outcome,
    store::{Record, Store, Stored},
};

/// All that is remembered of an instance.
#[derive(Serialize)]
struct Shown<'a> {
    run: &'a str,
    #[serde(flatten)]
    outcome: &'a Outcome,
    /// None where there is no result.
    result: Option<Made>,
    log: Option<PathBuf>,
    /// The commit that the experiment file was at, in the run.
    git: Option<&'a Git>,
    /// Runs just this, and what it needs, where the experiment file is as it was.
    command: String,
}

#[derive(Serialize)]
struct Made {
    kind: String,
    params: Value,
    seed: u64,
    inputs: Vec<In>,
    outputs: Vec<Out>,
    metrics: Metrics,
    /// The instance that made it: not always this one.
    made_by: String,
    finished: u64,
    seconds: f64,
    threads: usize,
}

#[derive(Serialize)]
struct In {
    name: String,
    /// The instance of the run that gave it.
    from: Option<String>,
    path: PathBuf,
}

#[derive(Serialize)]
struct Out {
    name: String,
    bytes: u64,
    path: PathBuf,
}

pub fn run(options: &ShowOptions, registry: &Registry) -> Result<ExitCode> {
    let (history, store) = (History::new(&options.cache.folder), Store::new(&options.cache.folder));
    let run = match &options.run {
        Some(run) => history.find(run)?,
        None => latest_with(&history, &options.instance)?,
    };
    let Some(outcome) = run.instance(&options.instance) else {
        let known = run.instances.iter().map(|o| o.instance.as_str());
        let message = format!("the run `{}` has no instance `{}`", run.id, options.instance);
        return Err(Error::experiment(message).hint(did_you_mean(&options.instance, known)));
    };
    let record = outcome.key.as_ref().and_then(|key| store.record_of(key));
    if outcome.result().is_some() && record.is_none() {
        tracing::warn!(
            "the result of `{}` is gone or damaged: `pipeline cache verify` says which",
            options.instance
        );
    }
    let log = outcome.key.as_ref().map(|key| store.log(key)).filter(|log| log.exists());
    let shown = Shown {
        run: &run.id,
        outcome,
        result: record.map(|record| made(&run, &store, record, registry)).transpose()?,
        log,
        git: run.git.as_ref(),
        command: command(&run, &options.instance, &options.cache.folder),
    };
    if options.json { output::json(&shown) } else { output::text(&shown.text()) }
}

pub(super) fn latest_with(history: &History, instance: &str) -> Result<Run> {
    let ids = history.ids();
    for id in &ids {
        match history.read(id) {
            Ok(run) if run.instance(instance).is_some() => return Ok(run),
            Ok(_) => {}
            Err(e) => tracing::warn!("{e}"),
        }
    }
    let message = format!("none of the {} runs of this cache has an instance `{instance}`", ids.len());
    Err(Error::experiment(message)
        .hint("`pipeline plan` lists the instances of an experiment, `pipeline runs` the runs"))
}

fn made(run: &Run, store: &Store, record: Record, registry: &Registry) -> Result<Made> {
    let makers = makers(run, store);
    let inputs = record.key.inputs.iter().flat_map(|(name, items)| {
        items.iter().map(|item| In {
            name: name.clone(),
            from: makers.get(&item.content).cloned(),
            path: store.object(&item.content),
        })
    });
    let inputs = inputs.collect();
    let outputs: Vec<Out> = record
        .outputs
        .iter()
        .map(|(name, stored)| Out {
            name: name.clone(),
            bytes: stored.bytes,
            path: store.object(&stored.content),
        })
        .collect();
    let mut found = Metrics::new();
    for (name, stored) in &record.outputs {
        match metrics(stored, store, registry) {
            Ok(metrics) => found.extend(metrics),
            // The rest is worth showing.
            Err(e) => tracing::warn!("{}", unreadable(&record.provenance.instance, name, e)),
        }
    }
    let (key, by) = (record.key, record.provenance);
    Ok(Made {
        kind: key.kind,
        params: key.params,
        seed: key.seed,
        inputs,
        outputs,
        metrics: found,
        made_by: by.instance,
        finished: by.finished,
        seconds: by.seconds,
        threads: by.threads,
    })
}

/// The metrics in an output, if it is a table of some.
///
/// # Errors
/// If it has changed on disk, or cannot be read.
pub(super) fn metrics(stored: &Stored, store: &Store, registry: &Registry) -> io::Result<Metrics> {
    registry.metrics(&store.sound_object(&stored.content)?)
}

/// That error, in words.
pub(super) fn unreadable(instance: &str, output: &str, e: io::Error) -> Error {
    Error::io(format!("cannot read the output `{output}` of `{instance}`"))(e)
        .hint("`pipeline cache verify --repair` sets aside what is damaged, and the next run makes it again")
}

/// By content, which instance of a run gave it.
pub fn makers(run: &Run, store: &Store) -> BTreeMap<Digest, String> {
    let mut makers = BTreeMap::new();
    for outcome in &run.instances {
        let record = outcome.key.as_ref().and_then(|key| store.record_of(key));
        for stored in record.iter().flat_map(|record| record.outputs.values()) {
            makers.entry(stored.content.clone()).or_insert_with(|| outcome.instance.clone());
        }
    }
    makers
}

/// What to type to run an instance alone, as that run did.
fn command(run: &Run, instance: &str, cache: &Path) -> String {
    let mut words = vec!["pipeline".to_string(), "run".into(), "-f".into(), output::quoted(&run.file)];
    words.extend(run.profile.iter().flat_map(|profile| ["-p".into(), output::quoted(profile)]));
    words.extend(run.set.iter().flat_map(|set| ["--set".into(), output::quoted(set)]));
    words.extend(["--only".into(), output::quoted(instance)]);
    if cache != Path::new("cache") {
        words.extend(["--cache".into(), output::quoted(&cache.display().to_string())]);
    }
    words.join(" ")
}

impl Shown<'_> {
    fn text(&self) -> String {
        let Outcome { instance, state, key, reason, message, .. } = self.outcome;
        let mut lines = vec![format!("{instance}  ({} in run {})", state.word(), self.run)];
        let mut add = |name: &str, value: String| lines.push(format!("  {name:<9}{value}"));
        if let Some(key) = key {
            add("key", key.to_string());
        }
        for (name, text) in [("reason", reason), ("failed", message)] {
            text.lines().for_each(|line| add(name, line.into()));
        }
        if let Some(made) = &self.result {
            let by = if made.made_by == *instance { String::new() } else { format!(" as {}", made.made_by) };
            add("kind", made.kind.clone());
            add(
                "made",
                format!(
                    "{} in {:.1} s on {} thread{}{by}",
                    time(made.finished),
                    made.seconds,
                    made.threads,
                    if made.threads == 1 { "" } else { "s" }
                ),
            );
            add("seed", made.seed.to_string());
            leaves("", &made.params)
                .into_iter()
                .for_each(|(path, value)| add("with", format!("{path}: {value}")));
            for input in &made.inputs {
                let from = input.from.as_deref().unwrap_or("an instance that this run did not have");
                add("input", format!("{} from {from}", input.name));
            }
            for out in &made.outputs {
                add("output", format!("{} ({}) {}", out.name, HumanBytes(out.bytes), out.path.display()));
            }
            made.metrics.iter().for_each(|(name, value)| add("metric", format!("{name}: {value:.4}")));
        }
        if let Some(log) = &self.log {
            add("log", log.display().to_string());
        }
        if let Some(Git { commit, dirty }) = &self.git {
            add("commit", format!("{commit}{}", if *dirty { " with changes" } else { "" }));
        }
        add("again", self.command.clone());
        lines.join("\n") + "\n"
    }
}

/// `training.lr: 0.001`, one by one.
fn leaves(path: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let below = |(key, value): (&String, &Value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, value)
            };
            map.iter().flat_map(below).collect()
        }
        value => vec![(path.into(), crate::key::short(value))],
    }
}
