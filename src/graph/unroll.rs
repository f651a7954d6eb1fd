//! From the experiment file to its instances.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use petgraph::{
    algo::{kosaraju_scc, toposort},
    graph::{DiGraph, NodeIndex},
};
use rayon::prelude::*;
use serde_json::Value;
use stages::contract::{Arity, Coordinates, Kind, Registry};

use super::{
    Graph, InputItem, Instance, InstanceInput,
    changes::{Point, check_changes, params, shaping},
    names::check_names,
    references::{Wire, wires},
};
use crate::{
    error::{Error, Result},
    experiment::{Document, Experiment, StageSpec, did_you_mean},
};

/// More instances than anyone means to run.
const MOST_INSTANCES: usize = 100_000;

/// Bytes in the name of a folder; file systems allow 255.
const LONGEST_FOLDER: usize = 200;

/// Checks the experiment and unrolls it over its axes.
///
/// # Errors
/// The first thing that is wrong with it, and where. Nothing has run then.
pub fn unroll(experiment: &Experiment, document: &Document, registry: &Registry) -> Result<Graph> {
    Unroll { experiment, document, registry }.run()
}

struct Unroll<'a> {
    experiment: &'a Experiment,
    document: &'a Document,
    registry: &'a Registry,
}

impl<'a> Unroll<'a> {
    fn run(&self) -> Result<Graph> {
        check_names(self.experiment, self.document)?;
        let stages = &self.experiment.stages;
        for (stage, spec) in stages {
            self.check_stage(stage, spec)?;
        }
        check_changes(self.experiment, self.document)?;
        let mut wired = BTreeMap::new();
        for stage in stages.keys() {
            let kind_of = |stage: &str| stages.get(stage).and_then(|spec| self.registry.get(&spec.uses));
            let wires = wires(stage, self.kind(stage), self.experiment, self.document, kind_of)?;
            wired.insert(stage.as_str(), wires);
        }
        let order = self.order(&wired)?;
        for (stage, wires) in &wired {
            wires.iter().try_for_each(|wire| self.check_gathering(stage, wire))?;
        }
        let graph = self.instances(&order, &wired)?;
        self.check_publishing(&graph)?;
        Ok(graph)
    }

    fn kind(&self, stage: &str) -> &'a Kind {
        let spec = &self.experiment.stages[stage];
        self.registry.get(&spec.uses).expect("the kind was checked")
    }

    fn error(&self, path: &[&str], message: impl Into<String>) -> Error {
        Error::experiment(message).at(self.document.place(path))
    }

    fn check_stage(&self, stage: &str, spec: &StageSpec) -> Result<()> {
        if self.registry.get(&spec.uses).is_none() {
            let known = self.registry.iter().map(|kind| kind.name);
            return Err(self
                .error(&["stages", stage, "uses"], format!("there is no stage kind `{}`", spec.uses))
                .hint(did_you_mean(&spec.uses, known)));
        }
        for (i, axis) in spec.over.iter().enumerate() {
            let path = ["stages", stage, "over", &i.to_string()];
            if !self.experiment.axes.contains_key(axis) {
                let known = self.experiment.axes.keys().map(String::as_str);
                let error = self.error(&path, format!("there is no axis `{axis}`"));
                return Err(error.hint(did_you_mean(axis, known)));
            }
            if spec.over[..i].contains(axis) {
                return Err(self
                    .error(&path, format!("axis `{axis}` is listed twice"))
                    .hint("take one of the two out"));
            }
        }
        let mut seeded_by = spec.seeded_by.iter().flatten().enumerate();
        if let Some((i, axis)) = seeded_by.find(|(_, axis)| !spec.over.contains(axis)) {
            let hint = if self.experiment.axes.contains_key(axis) {
                format!("add `{axis}` to `over` of `{stage}`, or take it out here")
            } else {
                did_you_mean(axis, spec.over.iter().map(String::as_str))
            };
            let message = format!("stage `{stage}` does not vary over `{axis}`, and cannot be seeded by it");
            return Err(self.error(&["stages", stage, "seeded_by", &i.to_string()], message).hint(hint));
        }
        Ok(())
    }

    /// An input that takes one artifact cannot gather any.
    fn check_gathering(&self, stage: &str, wire: &Wire) -> Result<()> {
        if wire.input.arity == Arity::Many {
            return Ok(());
        }
        let over = &self.experiment.stages[stage].over;
        for (producer, _) in &wire.sources {
            let extra = self.experiment.stages[producer].over.iter().find(|axis| !over.contains(axis));
            if let Some(axis) = extra {
                let input = wire.input.name;
                let message = format!(
                    "input `{input}` of `{stage}` takes one artifact, and `{producer}` has one for each `{axis}`"
                );
                return Err(self
                    .error(&["stages", stage, "inputs", input], message)
                    .hint(format!("add `{axis}` to `over` of `{stage}`")));
            }
        }
        Ok(())
    }

    /// Stages, producers first.
    fn order(&self, wired: &BTreeMap<&'a str, Vec<Wire>>) -> Result<Vec<&'a str>> {
        let mut graph: DiGraph<&str, ()> = DiGraph::new();
        let nodes: BTreeMap<&str, NodeIndex> =
            self.experiment.stages.keys().map(|stage| (stage.as_str(), graph.add_node(stage))).collect();
        for (stage, wires) in wired {
            for (producer, _) in wires.iter().flat_map(|wire| &wire.sources) {
                graph.update_edge(nodes[producer.as_str()], nodes[stage], ());
            }
        }
        if let Ok(order) = toposort(&graph, None) {
            return Ok(order.into_iter().map(|n| graph[n]).collect());
        }
        let is_cycle = |c: &Vec<NodeIndex>| c.len() > 1 || graph.contains_edge(c[0], c[0]);
        let cycle = kosaraju_scc(&graph).into_iter().find(is_cycle).unwrap_or_default();
        let mut names: Vec<&str> = cycle.into_iter().map(|n| graph[n]).collect();
        names.sort_unstable();
        let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let message = if names.len() == 1 {
            format!("stage {list} reads its own output")
        } else {
            format!("the stages {list} wait for each other in a circle")
        };
        Err(self
            .error(&["stages", names.first().unwrap_or(&""), "inputs"], message)
            .hint("take one of their inputs out"))
    }

    fn points(&self, stage: &str) -> Vec<Point<'a>> {
        let experiment = self.experiment;
        let mut axes: Vec<&str> = experiment.stages[stage].over.iter().map(String::as_str).collect();
        axes.sort_unstable();
        axes.into_iter().fold(vec![Point::new()], |points, axis| {
            let longer = |point: Point<'a>| {
                let add = move |value| {
                    let mut point = point.clone();
                    point.insert(axis, value);
                    point
                };
                experiment.axes[axis].values.iter().map(add).collect::<Vec<_>>()
            };
            points.into_iter().flat_map(longer).collect()
        })
    }

    /// What the parameters of a stage depend on of a point.
    fn shape(&self, stage: &str) -> impl Fn(&Point<'a>) -> Vec<String> + use<'a> {
        let axes = shaping(stage, self.experiment);
        move |point| axes.iter().filter_map(|axis| point.get(axis)).map(ToString::to_string).collect()
    }

    /// By shape: most instances of a large experiment have the parameters of others.
    fn params(
        &self,
        stage: &str,
        points: &[Point<'a>],
        shape: impl Fn(&Point<'a>) -> Vec<String>,
    ) -> Result<BTreeMap<Vec<String>, Arc<Value>>> {
        let mut seen = BTreeSet::new();
        let shapes = points.iter().map(|point| (shape(point), point));
        let shapes: Vec<_> = shapes.filter(|(shape, _)| seen.insert(shape.clone())).collect();
        let params = |(shape, point)| {
            let params = params(stage, point, self.kind(stage), self.experiment, self.document)?;
            Ok((shape, Arc::new(params)))
        };
        let all: Vec<Result<_>> = shapes.into_par_iter().map(params).collect();
        all.into_iter().collect()
    }

    fn instances(&self, order: &[&'a str], wired: &BTreeMap<&'a str, Vec<Wire>>) -> Result<Graph> {
        let sizes = order.iter().map(|stage| {
            let over = &self.experiment.stages[*stage].over;
            over.iter().map(|axis| self.experiment.axes[axis].values.len()).fold(1, usize::saturating_mul)
        });
        let total = sizes.fold(0, usize::saturating_add);
        if total > MOST_INSTANCES {
            let message =
                format!("the experiment has {total} stage instances, at most {MOST_INSTANCES} can run");
            return Err(self.error(&["axes"], message).hint("take values out of the axes, or `over` apart"));
        }
        let mut graph = Graph::new();
        let mut nodes: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
        for stage in order {
            let StageSpec { over, seeded_by, .. } = &self.experiment.stages[*stage];
            let sources = sources(&wired[stage], over, &graph, &nodes);
            let points = self.points(stage);
            let shape = self.shape(stage);
            let params = self.params(stage, &points, &shape)?;
            for point in points {
                let params = params[&shape(&point)].clone();
                let coordinates: Coordinates =
                    point.iter().map(|(axis, value)| ((*axis).to_string(), value.to_string())).collect();
                let inputs: Vec<InstanceInput> = sources
                    .iter()
                    .map(|(name, sources)| InstanceInput {
                        name,
                        items: sources.iter().flat_map(|source| source.items(&coordinates)).collect(),
                    })
                    .collect();
                let producers: BTreeSet<NodeIndex> =
                    inputs.iter().flat_map(|input| &input.items).map(|item| item.producer).collect();
                let node = graph.add_node(Instance {
                    name: Instance::name(stage, &coordinates),
                    seed: Instance::seed(stage, &coordinates, seeded_by.as_deref()),
                    stage: (*stage).into(),
                    coordinates,
                    kind: self.kind(stage).clone(),
                    params,
                    inputs,
                    needs: self.experiment.stages[*stage].needs.clone(),
                });
                for producer in producers {
                    graph.add_edge(producer, node, ());
                }
                nodes.entry(stage).or_default().push(node);
            }
        }
        Ok(graph)
    }

    /// Two instances must not publish under the same name.
    fn check_publishing(&self, graph: &Graph) -> Result<()> {
        let mut seen: BTreeMap<(String, &str), &str> = BTreeMap::new();
        for instance in graph.node_weights() {
            let folder = instance.report_folder();
            for output in instance.kind.outputs.iter().filter(|o| o.published) {
                let refuse = |message: String| self.error(&["stages", &instance.stage], message);
                if folder.len() > LONGEST_FOLDER {
                    return Err(refuse(format!("the folder `{folder}` would have too long a name")).hint(
                        "use shorter names and values of axes, or fewer axes for a stage that publishes",
                    ));
                }
                let other = seen.insert((folder.clone(), output.name), &instance.stage);
                if let Some(other) = other.filter(|other| *other != instance.stage) {
                    let stage = &instance.stage;
                    return Err(refuse(format!(
                        "stages `{other}` and `{stage}` would both publish `{}`",
                        output.name
                    ))
                    .hint("give one of them an axis, or make it an experiment of its own"));
                }
            }
        }
        Ok(())
    }
}

/// What one reference of a consumer gives: the producer's artifacts by their place on the axes that both have.
struct Source<'a> {
    shared: Vec<&'a str>,
    /// In the order of their coordinates on the other axes.
    items: BTreeMap<Vec<String>, Vec<InputItem>>,
}

impl Source<'_> {
    /// The same coordinates on shared axes, all of them on others.
    fn items(&self, consumer: &Coordinates) -> Vec<InputItem> {
        let at: Vec<String> = self.shared.iter().map(|axis| consumer[*axis].clone()).collect();
        self.items.get(&at).cloned().unwrap_or_default()
    }
}

/// The sources of each input of a consumer over the axes `over`, in the order of the references.
fn sources<'a>(
    wires: &[Wire],
    over: &'a [String],
    graph: &Graph,
    nodes: &BTreeMap<&str, Vec<NodeIndex>>,
) -> Vec<(&'static str, Vec<Source<'a>>)> {
    let source = |(stage, output): &(String, &'static str)| {
        let producers = &nodes[stage.as_str()];
        let has = |axis: &&str| producers.first().is_some_and(|n| graph[*n].coordinates.contains_key(*axis));
        let shared: Vec<&str> = over.iter().map(String::as_str).filter(has).collect();
        let mut items: BTreeMap<Vec<String>, Vec<InputItem>> = BTreeMap::new();
        for producer in producers {
            let mut coordinates = graph[*producer].coordinates.clone();
            let at = shared.iter().map(|axis| coordinates[*axis].clone()).collect();
            coordinates.retain(|axis, _| !over.contains(axis));
            items.entry(at).or_default().push(InputItem { producer: *producer, output, coordinates });
        }
        items.values_mut().for_each(|items| items.sort_by(|a, b| a.coordinates.cmp(&b.coordinates)));
        Source { shared, items }
    };
    wires.iter().map(|wire| (wire.input.name, wire.sources.iter().map(source).collect())).collect()
}
