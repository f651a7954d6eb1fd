//! `pipeline why`.

use std::{collections::BTreeSet, process::ExitCode};

use petgraph::graph::NodeIndex;
use serde::Serialize;
use stages::contract::Registry;

use super::{args::WhyOptions, output, setup::Setup, show::latest_with, times::time};
use crate::{
    error::{Error, Result},
    experiment::{did_you_mean, listed},
    graph::{Graph, needed},
    history::History,
    run::{End, Outcome, Planned, State, plan},
    store::Provenance,
};

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    planned: &'a Planned,
    /// Of a hit: what made the result. Otherwise: what made the earlier one that the reasons compare with.
    made: Option<Provenance>,
    /// What must run before it.
    waits_for: &'a [&'a Planned],
    /// Of a miss: how just this failed in the latest run that had it, if it did.
    failed: Option<Failed>,
}

#[derive(Serialize)]
struct Failed {
    run: String,
    message: String,
}

/// Of what must run before an instance, how many are shown.
const SHOWN: usize = 10;

pub fn run(options: &WhyOptions, registry: &Registry) -> Result<ExitCode> {
    let (setup, store) = Setup::with_store(&options.experiment, registry, &options.cache.folder)?;
    let remote = options.remote.open()?;
    let node = find(&setup.graph, &options.instance)?;
    let needed = needed(&setup.graph, BTreeSet::from([node]));
    let planned = plan(&setup.graph, &needed, &store, remote.as_ref()).map_err(super::remote::trouble)?;
    let Some((planned, before)) = planned.split_last() else { return Ok(ExitCode::SUCCESS) };
    let waits_for: Vec<&Planned> = before.iter().filter(|p| p.state == State::Miss).collect();
    let of = match planned.state {
        State::Hit => planned.key.as_ref(),
        _ => planned.nearest.as_ref(),
    };
    let made = of.and_then(|key| store.record_of(key)).map(|record| record.provenance);
    let history = History::new(&options.cache.folder);
    let failed = (planned.state == State::Miss).then(|| failed(&history, planned)).flatten();
    if options.json {
        return output::json(&Answer { planned, made, waits_for: &waits_for, failed });
    }
    let made = made.map(|p| format!("by {} at {} in {:.1} s", p.instance, time(p.finished), p.seconds));
    let (state, reasons, of) = match (planned.state, made, of) {
        (State::Hit, Some(made), Some(key)) => {
            ("hit", vec![format!("result {}, made {made}", key.short())], None)
        }
        (State::Hit, ..) => ("hit", vec![], None),
        (State::Shared, ..) => ("shared", planned.reasons.clone(), None),
        (State::Maybe, made, key) => ("maybe", planned.reasons.clone(), made.zip(key)),
        (State::Remote, ..) => ("remote", planned.reasons.clone(), None),
        (State::Miss, made, key) => ("miss", planned.reasons.clone(), made.zip(key)),
    };
    let mut text = format!("{}: {state}\n", planned.name);
    reasons.iter().for_each(|reason| text.push_str(&format!("  {reason}\n")));
    if let Some((made, key)) = of {
        text.push_str(&format!("compared with result {}, made {made}\n", key.short()));
    }
    if let Some(Failed { run, message }) = failed {
        text.push_str(&format!("failed in run {run}: {}\n", message.lines().next().unwrap_or_default()));
    }
    if !waits_for.is_empty() {
        text.push_str("must run before it\n");
    }
    waits_for.iter().take(SHOWN).for_each(|p| text.push_str(&format!("  {}  {}\n", p.name, p.reason)));
    if waits_for.len() > SHOWN {
        let (more, name) = (waits_for.len() - SHOWN, output::quoted(&planned.name));
        text.push_str(&format!("  and {more} more: `plan --only {name}` with the same options lists them\n"));
    }
    output::text(&text)
}

/// The instance of that name.
fn find(graph: &Graph, name: &str) -> Result<NodeIndex> {
    if let Some(node) = graph.node_indices().find(|node| graph[*node].name == name) {
        return Ok(node);
    }
    let of_stage: Vec<&str> =
        graph.node_weights().filter(|i| i.stage == name).map(|i| i.name.as_str()).collect();
    let hint = match of_stage.as_slice() {
        [] => did_you_mean(name, graph.node_weights().map(|i| i.name.as_str())),
        instances => format!("`{name}` is a stage; name one of its instances: {}", listed(instances)),
    };
    Err(Error::experiment(format!("there is no instance `{name}`")).hint(hint))
}

/// How just this, with the same key, failed in the latest run that had the instance.
fn failed(history: &History, planned: &Planned) -> Option<Failed> {
    let run = latest_with(history, &planned.name).ok()?;
    let Outcome { state: End::Failed, message, key, .. } = run.instance(&planned.name)? else { return None };
    (*key == planned.key).then(|| Failed { message: message.clone(), run: run.id.clone() })
}
