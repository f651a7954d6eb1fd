//! What a run would do, without running.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::{Direction::Incoming, graph::NodeIndex};
use serde::Serialize;

use super::resolve::{Decision, Outputs, Resolver, Why, contents, declares, key_of};
use crate::{
    graph::{Graph, Instance, ordered},
    key::Digest,
    remote::{Remote, Trouble},
    store::{Record, Store},
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
    /// In one line.
    pub reason: String,
    /// The same, one by one.
    pub reasons: Vec<String>,
    /// Of a miss: the key of the earlier result that is nearest, which `reasons` compare with.
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
    let mut planned = vec![];
    for node in ordered(graph).into_iter().filter(|n| chosen.contains(n)) {
        let instance = &graph[node];
        let mut unknown: Vec<&str> = graph
            .neighbors_directed(node, Incoming)
            .filter(|producer| !outputs.contains_key(producer))
            .map(|producer| graph[producer].name.as_str())
            .collect();
        unknown.sort_unstable();
        planned.push(if let Some(first) = unknown.first() {
            let others =
                if unknown.len() > 1 { format!(" and {} more", unknown.len() - 1) } else { String::new() };
            let why = Why::plain(format!("depends on {first}{others}"));
            Planned::new(&instance.name, None, State::Maybe, why)
        } else {
            let key = key_of(graph, node, &outputs);
            let digest = key.digest();
            let (state, why) = match (resolver.decide(instance, &key), misses.get(&digest)) {
                (Decision::Hit(record), _) => {
                    outputs.insert(node, contents(&record));
                    (State::Hit, Why::plain("cached"))
                }
                (_, Some(first)) => (State::Shared, Why::plain(format!("has the same key as {first}"))),
                (Decision::Miss(why), None) => match elsewhere(instance, &digest, remote)? {
                    Some(record) => {
                        outputs.insert(node, contents(&record));
                        (State::Remote, Why::plain("in the shared cache"))
                    }
                    None => {
                        misses.insert(digest.clone(), &instance.name);
                        (State::Miss, why)
                    }
                },
            };
            Planned::new(&instance.name, Some(digest), state, why)
        });
    }
    Ok(planned)
}

/// What the shared cache has for a key; what cannot be trusted there must be made.
fn elsewhere(instance: &Instance, key: &Digest, remote: Option<&Remote>) -> Result<Option<Record>, Trouble> {
    let Some(remote) = remote else { return Ok(None) };
    match remote.record_of(key) {
        Err(Trouble::Damaged(_)) => Ok(None),
        found => Ok(found?.filter(|record| declares(instance.kind.outputs, record))),
    }
}
