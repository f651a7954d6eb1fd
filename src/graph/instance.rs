//! A stage at one point of its axes.

use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::Value;
use stages::contract::{Coordinates, Kind};

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
    pub kind: Kind,
    /// Canonical: every default filled in, `${axis}` replaced.
    pub params: Value,
    /// Sorted by input name.
    pub inputs: Vec<InstanceInput>,
}

/// All instances of an experiment; an edge runs from producer to consumer. Acyclic.
pub type Graph = DiGraph<Instance, ()>;
