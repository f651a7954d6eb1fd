//! An instance's key, and what the store has for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
    time::Duration,
};

use petgraph::{
    Direction::{Incoming, Outgoing},
    graph::NodeIndex,
};
use rayon::prelude::*;
use stages::contract::Output;

use super::earlier::{Earlier, Now};
use crate::{
    graph::{Graph, Instance},
    key::{Digest, FORMAT, Key, KeyInput, other_count},
    store::{Lookup, Record, Store, Stored},
};

/// The outputs of finished instances.
pub type Outputs = BTreeMap<NodeIndex, BTreeMap<String, Digest>>;

/// The key of an instance whose producers have all finished.
///
/// # Panics
/// If one of them has not.
pub fn key_of(graph: &Graph, node: NodeIndex, outputs: &Outputs) -> Key {
    let key = key_so_far(graph, node, outputs);
    assert_eq!(key.inputs.len(), graph[node].inputs.len(), "all producers have finished");
    key
}

/// The key of an instance, without the inputs whose producers have not all finished.
fn key_so_far(graph: &Graph, node: NodeIndex, outputs: &Outputs) -> Key {
    let instance = &graph[node];
    let inputs = instance.inputs.iter().filter_map(|input| {
        let of_item = |item: &crate::graph::InputItem| {
            let content = outputs.get(&item.producer)?[item.output].clone();
            Some(KeyInput { coordinates: item.coordinates.clone(), content })
        };
        Some((input.name.to_string(), input.items.iter().map(of_item).collect::<Option<_>>()?))
    });
    Key {
        format: FORMAT,
        kind: instance.kind.name.into(),
        code: instance.kind.code.fingerprint.into(),
        params: (*instance.params).clone(),
        seed: instance.seed,
        inputs: inputs.collect(),
    }
}

/// The contents that outputs have.
pub fn contents(outputs: BTreeMap<String, Stored>) -> BTreeMap<String, Digest> {
    outputs.into_iter().map(|(name, stored)| (name, stored.content)).collect()
}

/// Whether every output that a kind declares is there.
pub fn declares(declared: &[Output], outputs: &BTreeMap<String, Stored>) -> bool {
    declared.iter().all(|output| outputs.contains_key(output.name))
}

/// Which instances wait for which, as one after the other finishes.
pub struct Waiting<'a> {
    graph: &'a Graph,
    /// Producers that each still waits for.
    left: BTreeMap<NodeIndex, usize>,
}

impl<'a> Waiting<'a> {
    /// `chosen` holds all that its members need.
    pub fn new(graph: &'a Graph, chosen: &BTreeSet<NodeIndex>) -> Self {
        let producers = |node| graph.neighbors_directed(node, Incoming).count();
        Self { graph, left: chosen.iter().map(|&node| (node, producers(node))).collect() }
    }

    /// Those that wait for nothing.
    pub fn first(&self) -> BTreeSet<NodeIndex> {
        self.left.iter().filter(|(_, left)| **left == 0).map(|(node, _)| *node).collect()
    }

    /// Those that wait for nothing any more when this one has finished.
    pub fn finish(&mut self, node: NodeIndex) -> Vec<NodeIndex> {
        let mut free = vec![];
        for consumer in self.graph.neighbors_directed(node, Outgoing) {
            if let Some(left) = self.left.get_mut(&consumer) {
                *left -= 1;
                free.extend((*left == 0).then_some(consumer));
            }
        }
        free
    }

    /// Those that wait for this one, in vain: they are waited for no more.
    pub fn fail(&mut self, node: NodeIndex) -> Vec<NodeIndex> {
        let consumers = self.graph.neighbors_directed(node, Outgoing);
        consumers.filter(|consumer| self.left.remove(consumer).is_some()).collect()
    }
}

/// Looks keys up, and explains why one is not there.
pub struct Resolver<'a> {
    pub store: &'a Store,
    /// Read when the first explanation is asked for.
    earlier: OnceLock<Earlier<'a>>,
}

/// Whether an instance must run; of a hit the contents of its outputs.
pub enum Decision {
    Hit(BTreeMap<String, Digest>),
    Miss(Why),
}

/// Why the store does not have a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// What differs from the nearest earlier result, or what is wrong with the one that there is.
    pub reasons: Vec<String>,
    /// The key of that earlier result.
    pub nearest: Option<Digest>,
}

impl Why {
    pub fn plain(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], nearest: None }
    }

    /// In one line.
    pub fn line(&self) -> String {
        self.reasons.join("; ")
    }
}

impl<'a> Resolver<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self { store, earlier: OnceLock::new() }
    }

    /// Looks up instances whose producers have finished: on all processors, for every byte may have to be read. In their
    /// order, with their keys.
    pub fn decide(
        &self,
        graph: &Graph,
        nodes: BTreeSet<NodeIndex>,
        outputs: &Outputs,
    ) -> Vec<(NodeIndex, Digest, Decision)> {
        let decide = |node: NodeIndex| {
            let (instance, key) = (&graph[node], key_of(graph, node, outputs));
            let digest = key.digest();
            let decision = match self.lookup(instance, &digest) {
                Lookup::Hit(outputs) => Decision::Hit(contents(outputs)),
                Lookup::Damaged(why) => Decision::Miss(Why::plain(format!("the cached result {why}"))),
                Lookup::Absent => Decision::Miss(self.explain(instance, &key)),
            };
            (node, digest, decision)
        };
        Vec::from_iter(nodes).into_par_iter().map(decide).collect()
    }

    /// The outputs of an instance, for whom the reason of a miss does not matter.
    pub fn hit(&self, instance: &Instance, key: &Digest) -> Option<BTreeMap<String, Digest>> {
        match self.lookup(instance, key) {
            Lookup::Hit(outputs) => Some(contents(outputs)),
            Lookup::Damaged(_) | Lookup::Absent => None,
        }
    }

    /// What the store has, with every output that the kind declares.
    fn lookup(&self, instance: &Instance, key: &Digest) -> Lookup {
        match self.store.lookup(key) {
            Lookup::Hit(outputs) if !declares(instance.kind.outputs, &outputs) => {
                Lookup::Damaged("lacks an output".into())
            }
            Lookup::Damaged(why) => Lookup::Damaged(format!("is damaged: {why}")),
            found => found,
        }
    }

    /// How long an instance may take: as long as those of its stage took, or a second where none has run.
    pub fn duration(&self, instance: &Instance) -> Duration {
        self.earlier().duration(&instance.stage).unwrap_or(Duration::from_secs(1))
    }

    /// The results that the store remembers; read when that is first asked.
    pub(super) fn earlier(&self) -> &Earlier<'a> {
        self.earlier.get_or_init(|| Earlier::of(self.store))
    }

    fn explain(&self, instance: &Instance, key: &Key) -> Why {
        match self.nearest(instance, key) {
            Some(Why { reasons, .. }) if reasons.is_empty() => Why::plain("its cached result is gone"),
            Some(why) => why,
            None => self.alike(instance, key),
        }
    }

    /// Where there is no earlier result of its name: what differs from one of its stage or kind.
    fn alike(&self, instance: &Instance, key: &Key) -> Why {
        let earlier = self.earlier();
        let known = Now { earlier, code: instance.kind.code };
        let candidates = earlier.latest_of(&instance.stage).chain(earlier.latest_of(instance.kind.name));
        let nearest = candidates
            .map(|record| (key.differences(&record.key, &known), record))
            .min_by_key(|(found, record)| (found.len(), record.provenance.stage() != instance.stage));
        let Some((differences, record)) = nearest else { return Why::plain("no earlier result") };
        let first = format!("no earlier result; nearest is that of `{}`", record.provenance.instance);
        let reasons = std::iter::once(first).chain(differences).collect();
        Why { reasons, nearest: Some(record.key.digest()) }
    }

    /// What differs for an instance that waits for some of its producers, whatever they give: nothing where that is not known.
    pub fn explain_so_far(&self, graph: &Graph, node: NodeIndex, outputs: &Outputs) -> Why {
        let why = self.nearest(&graph[node], &key_so_far(graph, node, outputs));
        why.filter(|why| !why.reasons.is_empty()).unwrap_or_default()
    }

    /// What differs from the earlier result that is nearest, if there is one. Of inputs that `key` does not have yet only their
    /// number is said.
    fn nearest(&self, instance: &Instance, key: &Key) -> Option<Why> {
        let earlier = self.earlier();
        let known = Now { earlier, code: instance.kind.code };
        let differences = |record: &Record| {
            let mut counts = vec![];
            let mut key = std::borrow::Cow::Borrowed(key);
            let unknown = instance.inputs.iter().filter(|input| !key.inputs.contains_key(input.name));
            let before: Vec<_> =
                unknown.filter_map(|input| Some((input, record.key.inputs.get(input.name)?))).collect();
            for (input, items) in before {
                key.to_mut().inputs.insert(input.name.into(), items.clone());
                counts.extend(other_count(input.name, items.len(), input.items.len()));
            }
            [key.differences(&record.key, &known), counts].concat()
        };
        let candidates = earlier.by_instance.get(&instance.name)?.iter();
        let (reasons, record) = candidates
            .map(|record| (differences(record), record))
            .min_by_key(|(found, record)| (found.len(), std::cmp::Reverse(record.provenance.finished)))?;
        Some(Why { reasons, nearest: Some(record.key.digest()) })
    }
}
