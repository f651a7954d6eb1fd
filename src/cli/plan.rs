//! `pipeline plan`.

use std::process::ExitCode;

use serde::Serialize;
use stages::contract::Registry;

use super::{STALE, args::PlanOptions, output, setup::Setup};
use crate::{
    error::Result,
    run::{Planned, State, plan},
};

#[derive(Serialize)]
struct Plan<'a> {
    experiment: &'a str,
    instances: &'a [Planned],
}

pub fn run(options: &PlanOptions, registry: &Registry) -> Result<ExitCode> {
    let (setup, store) = Setup::with_store(&options.experiment, registry, &options.cache.folder)?;
    let (remote, tokens) = (options.remote.open()?, options.resources.tokens()?);
    let planned =
        plan(&setup.graph, &setup.chosen, &store, remote.as_ref()).map_err(super::remote::trouble)?;
    let runs =
        setup.chosen.iter().zip(&planned).filter(|(_, p)| !matches!(p.state, State::Hit | State::Remote));
    tokens.warn_of_lacks(runs.map(|(node, _)| &setup.graph[*node]));
    if options.json {
        output::json(&Plan { experiment: &setup.experiment.name, instances: &planned })?;
    } else {
        tell(&planned)?;
    }
    let is_stale = planned.iter().any(|p| p.state != State::Hit);
    Ok(if options.exit_code && is_stale { ExitCode::from(STALE) } else { ExitCode::SUCCESS })
}

/// For people.
fn tell(planned: &[Planned]) -> Result<()> {
    let row = |p: &Planned| {
        let state = match p.state {
            State::Hit => "hit",
            State::Remote => "remote",
            State::Miss => "miss",
            State::Shared => "shared",
            State::Maybe => "maybe",
        };
        vec![state.into(), p.name.clone(), p.reason.clone()]
    };
    output::text(&output::table(
        &["STATE", "INSTANCE", "REASON"],
        &planned.iter().map(row).collect::<Vec<_>>(),
    ))?;
    let count = |state: State| planned.iter().filter(|p| p.state == state).count();
    let shared = match count(State::Shared) {
        0 => String::new(),
        some => format!(" ({some} more with the same keys)"),
    };
    let remote = match count(State::Remote) {
        0 => String::new(),
        some => format!(", {some} in the shared cache"),
    };
    output::say(&format!(
        "{} instances: {} cached{remote}, {} to run{shared}, {} that depend on what these give",
        planned.len(),
        count(State::Hit),
        count(State::Miss),
        count(State::Maybe)
    ));
    Ok(())
}
