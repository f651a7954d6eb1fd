//! A stage at one point of its axes.

use std::{collections::BTreeSet, sync::Arc};

use petgraph::{
    Direction::Incoming,
    graph::{DiGraph, NodeIndex},
};
use serde_json::Value;
use stages::contract::{Coordinates, Kind, derive_seed};

use crate::experiment::Needs;

/// One artifact that an instance reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputItem {
    pub producer: NodeIndex,
    /// Which of the producer's outputs.
    pub output: &'static str,
    /// Coordinates on the axes that the consumer does not have: what tells gathered items apart.
    pub coordinates: Coordinates,
}

/// A declared input with the artifacts that flow into it, in a canonical order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceInput {
    pub name: &'static str,
    pub items: Vec<InputItem>,
}

/// A stage at one point of its axes: the unit of running and remembering.
#[derive(Clone)]
pub struct Instance {
    /// `ppo[objective=binary,seed=1,task=safety]`, axes in alphabetical order; no brackets without axes.
    pub name: String,
    /// The stage's name in the experiment file.
    pub stage: String,
    pub coordinates: Coordinates,
    /// What all its random numbers come from.
    pub seed: u64,
    pub kind: Kind,
    /// Canonical: every default filled in, `${axis}` replaced. Instances that have the same share them.
    pub params: Arc<Value>,
    /// Sorted by input name.
    pub inputs: Vec<InstanceInput>,
    pub needs: Needs,
}

impl Instance {
    /// The name of a stage's instance at a point.
    pub fn name(stage: &str, coordinates: &Coordinates) -> String {
        if coordinates.is_empty() {
            return stage.into();
        }
        format!("{stage}[{}]", written(coordinates))
    }

    /// Its name gives its seed, and with it its place on the seed axis: of a stage that is `seeded_by` some of its axes,
    /// the name without the others.
    pub fn seed(stage: &str, coordinates: &Coordinates, seeded_by: Option<&[String]>) -> u64 {
        let mut coordinates = coordinates.clone();
        coordinates.retain(|axis, _| seeded_by.is_none_or(|axes| axes.contains(axis)));
        derive_seed(0, &Self::name(stage, &coordinates))
    }

    /// Whether an output of it goes to the reports folder.
    pub fn publishes(&self) -> bool {
        self.kind.outputs.iter().any(|output| output.published)
    }

    /// Where in the experiment's reports its published outputs go: empty for a stage without axes.
    pub fn report_folder(&self) -> String {
        written(&self.coordinates)
    }
}

/// `seed=1,task=safety`
fn written(coordinates: &Coordinates) -> String {
    coordinates.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(",")
}

/// All instances of an experiment; an edge runs from producer to consumer. Acyclic: producers come before consumers.
pub type Graph = DiGraph<Instance, ()>;

/// Some instances and all that these need.
pub fn needed(graph: &Graph, wanted: BTreeSet<NodeIndex>) -> BTreeSet<NodeIndex> {
    let mut waiting: Vec<NodeIndex> = wanted.into_iter().collect();
    let mut needed = BTreeSet::new();
    while let Some(node) = waiting.pop() {
        if needed.insert(node) {
            waiting.extend(graph.neighbors_directed(node, Incoming));
        }
    }
    needed
}
