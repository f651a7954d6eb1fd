//! `pipeline why`.

use std::{collections::BTreeSet, process::ExitCode};

use serde::Serialize;
use stages::contract::Registry;

use super::{args::WhyOptions, output, setup::Setup, times::time};
use crate::{
    error::{Error, Result},
    experiment::did_you_mean,
    graph::needed,
    run::{Planned, State, plan},
    store::Provenance,
};

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    planned: &'a Planned,
    /// Of a hit: what made the result. Of a miss: what made the earlier one that is nearest.
    made: Option<Provenance>,
}

pub fn run(options: &WhyOptions, registry: &Registry) -> Result<ExitCode> {
    let (setup, store) = Setup::with_store(&options.experiment, registry, &options.cache.folder)?;
    let remote = options.remote.open()?;
    let Some(node) = setup.graph.node_indices().find(|n| setup.graph[*n].name == options.instance) else {
        let known = setup.graph.node_weights().map(|i| i.name.as_str());
        let hint = did_you_mean(&options.instance, known);
        return Err(Error::experiment(format!("there is no instance `{}`", options.instance)).hint(hint));
    };
    let needed = needed(&setup.graph, BTreeSet::from([node]));
    let planned = plan(&setup.graph, &needed, &store, remote.as_ref()).map_err(super::remote::trouble)?;
    let Some(planned) = planned.last() else { return Ok(ExitCode::SUCCESS) };
    let of = match planned.state {
        State::Hit => planned.key.as_ref(),
        _ => planned.nearest.as_ref(),
    };
    let made = of.and_then(|key| store.record_of(key)).map(|record| record.provenance);
    if options.json {
        return output::json(&Answer { planned, made });
    }
    let made = made.map(|p| format!("by {} at {} in {:.1} s", p.instance, time(p.finished), p.seconds));
    let (state, reasons, of) = match (planned.state, made, of) {
        (State::Hit, Some(made), Some(key)) => {
            ("hit", vec![format!("result {}, made {made}", key.short())], None)
        }
        (State::Hit, ..) => ("hit", vec![], None),
        (State::Shared, ..) => ("shared", planned.reasons.clone(), None),
        (State::Maybe, ..) => ("maybe", planned.reasons.clone(), None),
        (State::Remote, ..) => ("remote", planned.reasons.clone(), None),
        (State::Miss, made, key) => ("miss", planned.reasons.clone(), made.zip(key)),
    };
    let mut text = format!("{}: {state}\n", planned.name);
    reasons.iter().for_each(|reason| text.push_str(&format!("  {reason}\n")));
    if let Some((made, key)) = of {
        text.push_str(&format!("compared with result {}, made {made}\n", key.short()));
    }
    output::text(&text)
}
