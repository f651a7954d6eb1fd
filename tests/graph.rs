//! Which artifacts flow into which instance: inputs line up on shared axes and gather the others.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::{
    experiment::Document,
    graph::{Graph, needed, unroll},
};
use proptest::{prelude::*, sample::subsequence};
use stages::contract::{Context, Input, Kind, Output, Registry, Stage, StageError};

/// A kind with no meaning: it reads many things, and perhaps one more, and gives two.
struct Toy;

impl Stage for Toy {
    const KIND: &'static str = "toy";
    const ABOUT: &'static str = "";
    const INPUTS: &'static [Input] = &[Input::many("many", "thing", ""), Input::optional("one", "thing", "")];
    const OUTPUTS: &'static [Output] =
        &[Output::new("thing", "thing", ""), Output::new("other", "other", "")];
    type Params = BTreeMap<String, String>;

    fn run(_: Self::Params, _: &Context) -> Result<(), StageError> {
        unreachable!("nothing runs here")
    }
}

/// `source` reads nothing, `toy` both.
fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.add(Kind { name: "source", inputs: &[], ..Kind::of::<Toy>("") });
    registry.add(Kind::of::<Toy>(""));
    registry
}

fn graph(yaml: &str) -> Graph {
    let document = Document::parse("test.yaml", yaml).unwrap();
    unroll(&document.experiment().unwrap(), &document, &registry()).unwrap_or_else(|e| panic!("{e}\n{yaml}"))
}

/// What flows into an instance's input, in order: `producer @ coordinates`.
fn flows(graph: &Graph, instance: &str, input: &str) -> Vec<String> {
    let instance = graph.node_weights().find(|i| i.name == instance).expect("an instance");
    let input = instance.inputs.iter().find(|i| i.name == input).expect("an input");
    let written = |item: &pipeline::graph::InputItem| {
        let at: Vec<String> =
            item.coordinates.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
        format!("{} @ {}", graph[item.producer].name, at.join(",")).trim_end().to_string()
    };
    input.items.iter().map(written).collect()
}

fn names(graph: &Graph) -> BTreeSet<&str> {
    graph.node_weights().map(|i| i.name.as_str()).collect()
}

#[test]
fn shared_axes_line_up_and_the_producers_others_are_gathered() {
    let graph = graph(
        "name: x
axes: { task: [b, a], seed: [2, 10] }
stages:
  rm: { uses: source, over: [task, seed] }
  judge: { uses: toy, over: [seed], inputs: { many: rm } }
  report: { uses: toy, inputs: { many: rm } }",
    );
    let expected = ["rm[seed=10,task=a] @ task=a", "rm[seed=10,task=b] @ task=b"];
    assert_eq!(flows(&graph, "judge[seed=10]", "many"), expected);
    // In the order of the coordinates as text, not of the file: a new order of values makes no new key.
    let expected = [
        "rm[seed=10,task=a] @ seed=10,task=a",
        "rm[seed=10,task=b] @ seed=10,task=b",
        "rm[seed=2,task=a] @ seed=2,task=a",
        "rm[seed=2,task=b] @ seed=2,task=b",
    ];
    assert_eq!(flows(&graph, "report", "many"), expected);
    assert_eq!(graph.node_count(), 4 + 2 + 1);
}

#[test]
fn where_the_consumer_has_more_axes_all_its_instances_read_the_same() {
    let graph = graph(
        "name: x
axes: { task: [a, b], seed: [1, 2] }
stages:
  data: { uses: source }
  sft: { uses: source, over: [seed] }
  ppo: { uses: toy, over: [task, seed], inputs: { one: data, many: sft } }",
    );
    for (task, seed) in [("a", 1), ("a", 2), ("b", 1), ("b", 2)] {
        let name = format!("ppo[seed={seed},task={task}]");
        assert_eq!(flows(&graph, &name, "one"), ["data @"]);
        assert_eq!(flows(&graph, &name, "many"), [format!("sft[seed={seed}] @")]);
    }
}

#[test]
fn a_list_of_producers_keeps_the_order_of_the_file_each_gathered_over_its_own_axes() {
    let graph = graph(
        "name: x
axes: { objective: [p, q], seed: [1, 2] }
stages:
  b-sft: { uses: source, over: [seed] }
  a-ppo: { uses: source, over: [objective, seed] }
  judge: { uses: toy, over: [seed], inputs: { many: [b-sft, a-ppo.thing] } }",
    );
    let expected = [
        "b-sft[seed=2] @",
        "a-ppo[objective=p,seed=2] @ objective=p",
        "a-ppo[objective=q,seed=2] @ objective=q",
    ];
    assert_eq!(flows(&graph, "judge[seed=2]", "many"), expected);
}

#[test]
fn only_some_stages_are_those_and_all_that_they_need() {
    let graph = graph(
        "name: x
axes: { seed: [1, 2] }
stages:
  data: { uses: source }
  unused: { uses: source }
  left: { uses: toy, over: [seed], inputs: { many: data } }
  right: { uses: toy, inputs: { many: data } }
  sink: { uses: toy, over: [seed], inputs: { many: [left, unused] } }",
    );
    let only = |stages: &[&str]| -> BTreeSet<&str> {
        let of_stages = graph.node_indices().filter(|n| stages.contains(&graph[*n].stage.as_str()));
        needed(&graph, of_stages.collect()).into_iter().map(|node| graph[node].name.as_str()).collect()
    };
    assert_eq!(only(&["left"]), BTreeSet::from(["data", "left[seed=1]", "left[seed=2]"]));
    assert_eq!(only(&["left", "right"]), BTreeSet::from(["data", "left[seed=1]", "left[seed=2]", "right"]));
    let mut all_but_right = names(&graph);
    all_but_right.remove("right");
    assert_eq!(only(&["sink"]), all_but_right);
    assert_eq!(only(&[]), BTreeSet::new());
}

#[test]
fn producers_come_before_consumers() {
    let graph = graph(
        "name: x
axes: { seed: [1, 2] }
stages:
  a: { uses: toy, inputs: { many: [c, b] } }
  b: { uses: toy, over: [seed], inputs: { many: c } }
  c: { uses: source, over: [seed] }",
    );
    let mut before = BTreeSet::new();
    for node in graph.node_indices() {
        for item in graph[node].inputs.iter().flat_map(|input| &input.items) {
            assert!(before.contains(&item.producer), "{} comes too early", graph[node].name);
        }
        before.insert(node);
    }
    assert_eq!(before.len(), 2 + 2 + 1);
}

const AXES: [&str; 3] = ["a", "b", "c"];

/// An experiment with two producers and a consumer.
#[derive(Clone, Debug)]
struct Case {
    /// Values of each axis, in the order of the file.
    values: Vec<Vec<u8>>,
    /// What the producers `p` and `q` and the consumer vary over.
    over: [Vec<&'static str>; 3],
}

impl Case {
    fn graph(&self) -> Graph {
        let axes: Vec<String> = AXES.iter().zip(&self.values).map(|(a, v)| format!("{a}: {v:?}")).collect();
        let [p, q, consumer] = self.over.each_ref().map(|axes| axes.join(", "));
        graph(&format!(
            "name: x\naxes: {{ {} }}\nstages:\n  p: {{ uses: source, over: [{p}] }}\n  q: {{ uses: source, over: \
             [{q}] }}\n  consumer: {{ uses: toy, over: [{consumer}], inputs: {{ many: [q, p] }} }}",
            axes.join(", ")
        ))
    }

    /// The same, with everything in order whose order must not matter.
    fn in_order(&self) -> Self {
        let mut case = self.clone();
        case.values.iter_mut().for_each(|values| values.sort_unstable());
        case.over.iter_mut().for_each(|axes| axes.sort_unstable());
        case
    }

    /// How many points these axes have.
    fn points(&self, axes: impl Iterator<Item = &'static str>) -> usize {
        axes.map(|axis| self.values[AXES.iter().position(|a| *a == axis).unwrap()].len()).product()
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let values = || subsequence(vec![1_u8, 2, 10], 1..=3).prop_shuffle();
    let over = || subsequence(AXES.to_vec(), 0..=3).prop_shuffle();
    (prop::collection::vec(values(), 3), [over(), over(), over()])
        .prop_map(|(values, over)| Case { values, over })
}

proptest! {
    #[test]
    fn an_input_has_every_point_of_the_gathered_axes_once_and_agrees_on_the_shared_ones(case in cases()) {
        let graph = case.graph();
        let [p, q, consumer] = &case.over;
        let consumers: Vec<_> = graph.node_weights().filter(|i| i.stage == "consumer").collect();
        prop_assert_eq!(consumers.len(), case.points(consumer.iter().copied()));
        for instance in consumers {
            let items = &instance.inputs[0].items;
            let (of_q, of_p): (Vec<_>, Vec<_>) = items.iter().partition(|item| graph[item.producer].stage == "q");
            prop_assert!(items.iter().eq(of_q.iter().chain(&of_p).copied()), "the order of the references");
            for (items, over) in [(of_p, p), (of_q, q)] {
                let gathered: BTreeSet<&str> =
                    over.iter().copied().filter(|axis| !consumer.contains(axis)).collect();
                prop_assert_eq!(items.len(), case.points(gathered.iter().copied()));
                prop_assert!(items.windows(2).all(|two| two[0].coordinates < two[1].coordinates));
                for item in items {
                    prop_assert!(item.coordinates.keys().eq(&gathered));
                    for (axis, value) in &graph[item.producer].coordinates {
                        let expected = instance.coordinates.get(axis).or(item.coordinates.get(axis));
                        prop_assert_eq!(Some(value), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn no_order_in_the_file_changes_what_flows_where(case in cases()) {
        let (graph, in_order) = (case.graph(), case.in_order().graph());
        prop_assert_eq!(names(&graph), names(&in_order));
        for name in names(&graph).into_iter().filter(|name| name.starts_with("consumer")) {
            prop_assert_eq!(flows(&graph, name, "many"), flows(&in_order, name, "many"));
        }
    }
}
