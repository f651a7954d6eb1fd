//! The graph of stages as a picture, for Graphviz and for Mermaid.

use std::{collections::BTreeMap, fmt::Write};

use super::Graph;

/// A stage in a picture: its kind and the number of its instances; and which outputs go where.
struct Drawing<'a> {
    stages: BTreeMap<&'a str, (&'a str, usize)>,
    /// Producer, consumer: the inputs that the consumer reads from it.
    edges: BTreeMap<(&'a str, &'a str), Vec<&'a str>>,
}

fn drawing(graph: &Graph) -> Drawing<'_> {
    let mut drawing = Drawing { stages: BTreeMap::new(), edges: BTreeMap::new() };
    for instance in graph.node_weights() {
        drawing.stages.entry(&instance.stage).or_insert((instance.kind.name, 0)).1 += 1;
        for input in &instance.inputs {
            for item in &input.items {
                let edge = (graph[item.producer].stage.as_str(), instance.stage.as_str());
                let names = drawing.edges.entry(edge).or_default();
                if !names.contains(&input.name) {
                    names.push(input.name);
                }
            }
        }
    }
    drawing
}

/// In Graphviz' language. Names are plain (letters, digits, `-_`), so nothing needs escaping.
pub fn dot(graph: &Graph) -> String {
    let drawing = drawing(graph);
    let mut out = String::from("digraph experiment {\n  rankdir=LR;\n  node [shape=box];\n");
    for (stage, (kind, count)) in &drawing.stages {
        let _ = writeln!(out, "  \"{stage}\" [label=\"{stage}\\n{kind} x {count}\"];");
    }
    for ((from, to), inputs) in &drawing.edges {
        let _ = writeln!(out, "  \"{from}\" -> \"{to}\" [label=\"{}\"];", inputs.join(", "));
    }
    out.push_str("}\n");
    out
}

/// In Mermaid's language, which code hosts draw within Markdown.
pub fn mermaid(graph: &Graph) -> String {
    let drawing = drawing(graph);
    let number: BTreeMap<&str, usize> = drawing.stages.keys().enumerate().map(|(i, s)| (*s, i)).collect();
    let mut out = String::from("flowchart LR\n");
    for (stage, (kind, count)) in &drawing.stages {
        let _ = writeln!(out, "  s{}[\"{stage}<br/>{kind} x {count}\"]", number[stage]);
    }
    for ((from, to), inputs) in &drawing.edges {
        let _ = writeln!(out, "  s{} -- {} --> s{}", number[from], inputs.join(", "), number[to]);
    }
    out
}
