//! From the command line to a graph.

use std::{collections::BTreeSet, process::ExitCode};

use petgraph::graph::NodeIndex;
use stages::contract::Registry;

use super::{
    args::{ExperimentOptions, GraphOptions, Picture},
    output,
};
use crate::{
    error::{Error, Result},
    experiment::{Document, Experiment, did_you_mean},
    graph::{Graph, dot, mermaid, restrict, unroll},
};

/// An experiment that was checked as a whole.
pub struct Setup {
    pub experiment: Experiment,
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
        let stages = || experiment.stages.keys().map(String::as_str);
        if let Some(stage) = options.only.iter().find(|stage| !experiment.stages.contains_key(*stage)) {
            return Err(Error::experiment(format!("`--only {stage}`: there is no such stage"))
                .hint(did_you_mean(stage, stages())));
        }
        let only: BTreeSet<&str> = if options.only.is_empty() {
            stages().collect()
        } else {
            options.only.iter().map(String::as_str).collect()
        };
        let chosen = restrict(&graph, &only);
        Ok(Self { experiment, graph, chosen })
    }
}

pub fn draw(options: &GraphOptions, registry: &Registry) -> Result<ExitCode> {
    let mut setup = Setup::read(&options.experiment, registry)?;
    setup.graph.retain_nodes(|_, node| setup.chosen.contains(&node));
    output::text(&match options.format {
        Picture::Dot => dot(&setup.graph),
        Picture::Mermaid => mermaid(&setup.graph),
    })
}
