//! From the command line to a graph.

use std::{collections::BTreeSet, path::Path, process::ExitCode};

use petgraph::graph::NodeIndex;
use serde_json::Value;
use stages::contract::Registry;

use super::{
    args::{ExperimentOptions, GraphOptions, Picture},
    output,
};
use crate::{
    error::{Error, Result},
    experiment::{Document, Experiment, did_you_mean},
    graph::{Graph, dot, mermaid, needed, unroll},
    store::Store,
};

/// An experiment that was checked as a whole.
pub struct Setup {
    pub experiment: Experiment,
    /// The document with profile and overrides merged.
    pub resolved: Value,
    pub graph: Graph,
    /// What `--only` leaves.
    pub chosen: BTreeSet<NodeIndex>,
}

impl Setup {
    pub fn read(options: &ExperimentOptions, registry: &Registry) -> Result<Self> {
        let (document, experiment) = parse(options)?;
        Self::unroll(document, experiment, options, registry)
    }

    /// With the store in a folder, for which a glance at what earlier runs have verified is enough. Both take their time, and
    /// are made side by side.
    pub fn with_store(
        options: &ExperimentOptions,
        registry: &Registry,
        folder: &Path,
    ) -> Result<(Self, Store)> {
        let (document, experiment) = parse(options)?;
        let name = experiment.name.clone();
        let unroll = || Self::unroll(document, experiment, options, registry);
        let (setup, store) = rayon::join(unroll, || Store::of_experiment(folder, &name));
        Ok((setup?, store))
    }

    fn unroll(
        document: Document,
        experiment: Experiment,
        options: &ExperimentOptions,
        registry: &Registry,
    ) -> Result<Self> {
        let graph = unroll(&experiment, &document, registry)?;
        let chosen = needed(&graph, only(&graph, &options.only)?);
        Ok(Self { experiment, resolved: document.into_value(), graph, chosen })
    }
}

fn parse(options: &ExperimentOptions) -> Result<(Document, Experiment)> {
    let mut document = Document::read(&options.file)?;
    if let Some(profile) = &options.profile {
        document.select_profile(profile)?;
    }
    options.set.iter().try_for_each(|assignment| document.set(assignment))?;
    let experiment = document.experiment()?;
    Ok((document, experiment))
}

/// The instances that `--only` names, by stage or one by one; all where it names none.
fn only(graph: &Graph, names: &[String]) -> Result<BTreeSet<NodeIndex>> {
    if names.is_empty() {
        return Ok(graph.node_indices().collect());
    }
    let mut wanted = BTreeSet::new();
    for name in names {
        let before = wanted.len();
        wanted.extend(graph.node_indices().filter(|n| graph[*n].stage == *name || graph[*n].name == *name));
        if wanted.len() == before && !graph.node_weights().any(|i| i.stage == *name || i.name == *name) {
            let known: BTreeSet<&str> = if name.contains('[') {
                graph.node_weights().map(|i| i.name.as_str()).collect()
            } else {
                graph.node_weights().map(|i| i.stage.as_str()).collect()
            };
            return Err(Error::experiment(format!("`--only {name}`: there is no such stage or instance"))
                .hint(did_you_mean(name, known)));
        }
    }
    Ok(wanted)
}

pub fn draw(options: &GraphOptions, registry: &Registry) -> Result<ExitCode> {
    let mut setup = Setup::read(&options.experiment, registry)?;
    setup.graph.retain_nodes(|_, node| setup.chosen.contains(&node));
    output::text(&match options.format {
        Picture::Dot => dot(&setup.graph),
        Picture::Mermaid => mermaid(&setup.graph),
    })
}
