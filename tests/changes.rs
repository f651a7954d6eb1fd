//! Axes whose values change parameters, and seeds that depend on some of the axes.

use pipeline::{
    error::Result,
    experiment::Document,
    graph::{Graph, Instance, unroll},
};
use serde_json::{Map, Value, json};
use stages::contract::{Context, Kind, Registry, Stage, StageError};

/// Takes any parameters.
struct Toy;

impl Stage for Toy {
    const KIND: &'static str = "toy";
    const ABOUT: &'static str = "";
    const INPUTS: &'static [stages::contract::Input] = &[];
    const OUTPUTS: &'static [stages::contract::Output] = &[];
    type Params = Map<String, Value>;

    fn run(_: Self::Params, _: &Context) -> Result<(), StageError> {
        unreachable!("nothing runs here")
    }
}

fn try_graph(yaml: &str, profile: Option<&str>, set: &[&str]) -> Result<Graph> {
    let mut document = Document::parse("test.yaml", yaml)?;
    profile.into_iter().try_for_each(|name| document.select_profile(name))?;
    set.iter().try_for_each(|assignment| document.set(assignment))?;
    let mut registry = Registry::default();
    registry.add(Kind::of::<Toy>(""));
    unroll(&document.experiment()?, &document, &registry)
}

fn refused(yaml: &str, profile: Option<&str>, set: &[&str]) -> String {
    try_graph(yaml, profile, set).map(drop).expect_err("it is refused").to_string()
}

fn instance<'a>(graph: &'a Graph, name: &str) -> &'a Instance {
    graph.node_weights().find(|i| i.name == name).unwrap_or_else(|| panic!("no `{name}`"))
}

fn params(graph: &Graph, name: &str) -> Value {
    (*instance(graph, name).params).clone()
}

/// The instances of a stage, and what they have as `a`.
fn arms(graph: &Graph, stage: &str) -> Vec<(String, Value)> {
    let arms = graph.node_weights().filter(|i| i.stage == stage);
    arms.map(|i| (i.coordinates["variant"].clone(), i.params["a"].clone())).collect()
}

const VARIANTS: &str = "name: x
axes:
  variant:
    zero: { rm: { a: { b: 0 } }, ppo: }
    paper:
    less: { rm: { a: { c: null, d: { e: null } }, f: '${variant} ${seed}', g: '${seed}' } }
  seed: [1]
stages:
  rm: { uses: toy, over: [variant, seed], with: { a: { b: 1, c: 2 }, arm: '${variant}' } }
  ppo: { uses: toy, over: [variant], with: { a: 1 } }
  other: { uses: toy, over: [seed], with: { a: 1 } }
profiles:
  list: { axes: { variant: [1, 2] } }
  some: { axes: { variant: [zero, paper] } }
  mixed: { axes: { variant: [paper, zera] } }
  fewer: { axes: { variant: { less: null, zero: { rm: { a: { b: 5 } } }, new: { ppo: { a: 3 } } } } }
  map: { axes: { seed: { one: , two: { other: { a: 2 } } } } }
";

#[test]
fn a_value_changes_the_stages_that_it_names_and_no_others() {
    let graph = try_graph(VARIANTS, None, &[]).unwrap();
    let all: Vec<&str> = graph.node_weights().filter(|i| i.stage == "rm").map(|i| i.name.as_str()).collect();
    // In the order of the names.
    assert_eq!(all, ["rm[seed=1,variant=less]", "rm[seed=1,variant=paper]", "rm[seed=1,variant=zero]"]);
    let rm = |variant: &str| params(&graph, &format!("rm[seed=1,variant={variant}]"));
    assert_eq!(rm("paper"), json!({ "a": { "b": 1, "c": 2 }, "arm": "paper" }));
    assert_eq!(rm("zero"), json!({ "a": { "b": 0, "c": 2 }, "arm": "zero" }));
    let less = json!({ "a": { "b": 1, "d": {} }, "arm": "less", "f": "less 1", "g": 1 });
    assert_eq!(rm("less"), less);
    assert!(arms(&graph, "ppo").iter().all(|(_, a)| *a == 1));
    assert_eq!(params(&graph, "other[seed=1]"), json!({ "a": 1 }));
}

#[test]
fn profiles_and_overrides_reach_into_the_changes() {
    let names = |profile: &str, set: &[&str]| -> Vec<String> {
        let profile = Some(profile).filter(|name| !name.is_empty());
        arms(&try_graph(VARIANTS, profile, set).unwrap(), "rm")
            .into_iter()
            .map(|(variant, a)| format!("{variant} {}", a["b"]))
            .collect()
    };
    assert_eq!(names("fewer", &[]), ["new 1", "paper 1", "zero 5"]);
    assert_eq!(names("", &["axes.variant.zero.rm.a.b=7"]), ["less 1", "paper 1", "zero 7"]);
    // Also where nothing stands yet.
    assert_eq!(names("", &["axes.variant.paper.rm.a.b=7"]), ["less 1", "paper 7", "zero 0"]);
    assert_eq!(names("", &["axes.variant={x: {rm: {a: {b: 3}}}}"]), ["x 3"]);
    // A list chooses, and what it chooses keeps its changes.
    assert_eq!(names("some", &[]), ["paper 1", "zero 0"]);
    assert_eq!(names("", &["axes.variant=[zero]"]), ["zero 0"]);
    // Other values are another axis.
    assert_eq!(names("list", &[]), ["1 1", "2 1"]);
    // A map over a list.
    let graph = try_graph(VARIANTS, Some("map"), &[]).unwrap();
    assert_eq!(params(&graph, "other[seed=one]"), json!({ "a": 1 }));
    assert_eq!(params(&graph, "other[seed=two]"), json!({ "a": 2 }));
    let graph = try_graph(VARIANTS, None, &["axes.seed={one: , two: {other: {a: 2}}}"]).unwrap();
    assert_eq!(params(&graph, "other[seed=two]"), json!({ "a": 2 }));
}

#[test]
fn numbers_that_are_equal_are_one_parameter() {
    let written = |number: &str| {
        let graph = try_graph(VARIANTS, None, &[&format!("stages.other.with.a={number}")]).unwrap();
        params(&graph, "other[seed=1]").to_string()
    };
    assert_eq!(written("-0.0"), written("0.0"));
    assert_eq!(written("1.0e-1"), written("0.1"));
}

#[test]
fn a_choice_of_what_is_not_there_is_refused() {
    for (profile, set, place) in [
        (Some("mixed"), vec![], "test.yaml:15:37"),
        (None, vec!["axes.variant=[zera]"], "--set axes.variant=[zera]"),
        (None, vec!["axes.variant=[paper, zera]"], "--set axes.variant=[paper, zera]"),
        (None, vec!["axes.variant.zera.rm.a.b=1"], "--set axes.variant.zera.rm.a.b=1"),
    ] {
        let said = refused(VARIANTS, profile, &set);
        assert!(said.starts_with("there is no value `zera` on the axis `variant`\n"), "{said}");
        assert!(said.contains(place) && said.ends_with("hint: did you mean `zero`?"), "{said}");
    }
    let said = refused(VARIANTS, None, &["axes.variant=[]"]);
    assert!(said.starts_with("axis `variant` has no values\n  --> --set axes.variant=[]"), "{said}");
}

fn two_axes(first: &str, second: &str) -> String {
    format!(
        "name: x
axes:
  alpha: {{ p: {{ rm: {first} }} }}
  beta:
    q: {{ rm: {second} }}
stages:
  rm: {{ uses: toy, over: [beta, alpha], with: {{ a: {{ x: 1 }} }} }}
"
    )
}

#[test]
fn two_axes_change_one_stage_where_they_agree() {
    let both = |first: &str, second: &str| {
        params(&try_graph(&two_axes(first, second), None, &[]).unwrap(), "rm[alpha=p,beta=q]")
    };
    assert_eq!(both("{ a: { y: 2 } }", "{ a: { x: 3 } }"), json!({ "a": { "x": 3, "y": 2 } }));
    assert_eq!(both("{ a: null, b: '${beta}' }", "{ a: null, b: q }"), json!({ "b": "q" }));
    let said = refused(&two_axes("{ a: { x: 2 } }", "{ a: { x: null } }"), None, &[]);
    insta::assert_snapshot!("two_axes_disagree", said);
}

#[test]
fn a_seed_comes_from_the_name_or_the_part_of_it_that_seeds() {
    let graph = |seeded_by: &str| {
        try_graph(
            &format!(
                "name: x
axes: {{ task: [a, b], variant: {{ paper: , less: {{ rm: {{ a: 0 }} }} }}, seed: [1, 2] }}
stages:
  rm: {{ uses: toy, over: [task, variant, seed], {seeded_by} }}
  data: {{ uses: toy }}
"
            ),
            None,
            &[],
        )
        .unwrap()
    };
    let seeds = |graph: &Graph| -> Vec<u64> {
        graph.node_weights().filter(|i| i.stage == "rm").map(|i| i.seed).collect()
    };
    let distinct = |seeds: &[u64]| std::collections::BTreeSet::from_iter(seeds).len();
    let all = graph("");
    // Results in caches stay valid: these numbers must not change.
    assert_eq!(instance(&all, "data").seed, 0x4c71_8d69_db5c_eb9a);
    assert_eq!(instance(&all, "rm[seed=1,task=a,variant=paper]").seed, 0x94c8_8e81_ccf0_33cb);
    assert_eq!(distinct(&seeds(&all)), 8);
    assert_eq!(seeds(&all), seeds(&graph("seeded_by: [variant, seed, task]")));
    assert_eq!(seeds(&all), seeds(&graph("seeded_by: ")));

    let some = graph("seeded_by: [seed, task]");
    assert_eq!(distinct(&seeds(&some)), 4);
    let seed = |name: &str| instance(&some, name).seed;
    assert_eq!(seed("rm[seed=1,task=a,variant=less]"), seed("rm[seed=1,task=a,variant=paper]"));
    // As if the stage did not vary over the other axes: one that is added keeps the results.
    let name = "name: x\naxes: { task: [a], seed: [1] }\nstages: { rm: { uses: toy, over: [task, seed] } }";
    let before = try_graph(name, None, &[]).unwrap();
    assert_eq!(seed("rm[seed=1,task=a,variant=less]"), instance(&before, "rm[seed=1,task=a]").seed);

    assert_eq!(distinct(&seeds(&graph("seeded_by: []"))), 1);
}
