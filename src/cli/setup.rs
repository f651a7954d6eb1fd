//! From the command line to a graph.

use std::{collections::BTreeSet, process::ExitCode};

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
        let mut document = Document::read(&options.file)?;
        if let Some(profile) = &options.profile {
            document.select_profile(profile)?;
        }
        options.set.iter().try_for_each(|assignment| document.set(assignment))?;
        let experiment = document.experiment()?;
        let graph = unroll(&experiment, &document, registry)?;
        let chosen = needed(&graph, only(&graph, &options.only)?);
        Ok(Self { experiment, resolved: document.into_value(), graph, chosen })
    }
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
