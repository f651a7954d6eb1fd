//! What a run would do, without running.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::{Direction::Incoming, graph::NodeIndex};
use rayon::prelude::*;
use serde::Serialize;

use super::{
    remote::lookup,
    resolve::{Decision, Outputs, Resolver, Waiting, Why, contents},
};
use crate::{
    graph::{Graph, Instance},
    key::Digest,
    remote::{Remote, Trouble},
    store::Store,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The store has it.
    Hit,
    /// The shared cache has it: a run takes it from there.
    Remote,
    /// It must run.
    Miss,
    /// It has the key of another that must run, and takes its result.
    Shared,
    /// It depends on what must run: it runs unless that gives the same bytes as before.
    Maybe,
}

/// What would happen to one instance.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    pub name: String,
    /// `None` where it depends on what has not run yet.
    pub key: Option<Digest>,
    pub state: State,
    /// In one line, which of many producers names one.
    pub reason: String,
    /// The same, one by one and all.
    pub reasons: Vec<String>,
    /// The key of the earlier result that is nearest, if `reasons` compare with one.
    pub nearest: Option<Digest>,
}

impl Planned {
    fn new(name: &str, key: Option<Digest>, state: State, why: Why) -> Self {
        let (name, reason) = (name.into(), why.line());
        Self { name, key, state, reason, reasons: why.reasons, nearest: why.nearest }
    }
}

/// Plans the `chosen` instances, producers first. The store is only read, and so is the shared cache.
///
/// # Errors
/// If the shared cache cannot be asked.
pub fn plan(
    graph: &Graph,
    chosen: &BTreeSet<NodeIndex>,
    store: &Store,
    remote: Option<&Remote>,
) -> Result<Vec<Planned>, Trouble> {
    let resolver = Resolver::new(store);
    let mut outputs = Outputs::new();
    let mut misses: BTreeMap<Digest, &str> = BTreeMap::new();
    let mut known: BTreeMap<NodeIndex, Planned> = BTreeMap::new();
    let mut waiting = Waiting::new(graph, chosen);
    let mut wave = waiting.first();
    while !wave.is_empty() {
        for (node, digest, decision) in resolver.decide(graph, std::mem::take(&mut wave), &outputs) {
            let instance = &graph[node];
            let (state, why, found) = match (decision, misses.get(&digest)) {
                (Decision::Hit(found), _) => (State::Hit, Why::plain("cached"), Some(found)),
                (_, Some(first)) => (State::Shared, Why::plain(format!("has the same key as {first}")), None),
                (Decision::Miss(why), None) => match elsewhere(instance, &digest, remote)? {
                    Some(found) => (State::Remote, Why::plain("in the shared cache"), Some(found)),
                    None => {
                        misses.insert(digest.clone(), &instance.name);
                        (State::Miss, why, None)
                    }
                },
            };
            known.insert(node, Planned::new(&instance.name, Some(digest), state, why));
            if let Some(found) = found {
                outputs.insert(node, found);
                wave.extend(waiting.finish(node));
            }
        }
    }
    let unknown: Vec<NodeIndex> = chosen.iter().filter(|node| !known.contains_key(node)).copied().collect();
    known.par_extend(unknown.into_par_iter().map(|node| (node, maybe(graph, node, &resolver, &outputs))));
    Ok(known.into_values().collect())
}

/// Of an instance that depends on what must run. Something else may differ for it, too.
fn maybe(graph: &Graph, node: NodeIndex, resolver: &Resolver<'_>, outputs: &Outputs) -> Planned {
    let producers = graph.neighbors_directed(node, Incoming).filter(|p| !outputs.contains_key(p));
    let unknown: BTreeSet<&str> = producers.map(|p| graph[p].name.as_str()).collect();
    let others = if unknown.len() > 1 { format!(" and {} more", unknown.len() - 1) } else { String::new() };
    let own = resolver.explain_so_far(graph, node, outputs);
    let line = unknown.first().map(|first| format!("depends on {first}{others}"));
    let one_by_one = unknown.iter().map(|name| format!("depends on {name}"));
    Planned {
        name: graph[node].name.clone(),
        key: None,
        state: State::Maybe,
        reason: Vec::from_iter(line.into_iter().chain(own.reasons.iter().cloned())).join("; "),
        reasons: one_by_one.chain(own.reasons.iter().cloned()).collect(),
        nearest: own.nearest,
    }
}

/// What the shared cache has for a key; what cannot be trusted there must be made.
fn elsewhere(
    instance: &Instance,
    key: &Digest,
    remote: Option<&Remote>,
) -> Result<Option<BTreeMap<String, Digest>>, Trouble> {
    let Some(remote) = remote else { return Ok(None) };
    let record = match lookup(remote, instance, key, &|| false) {
        Err(Trouble::Damaged(_)) => None,
        found => found?,
    };
    Ok(record.map(|record| contents(record.outputs)))
}
