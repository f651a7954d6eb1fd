//! An instance's key, and what the store has for it.

use std::{cell::OnceCell, collections::BTreeMap};

use petgraph::graph::NodeIndex;

use crate::{
    graph::{Graph, Instance},
    key::{Digest, FORMAT, Key, KeyInput},
    store::{Lookup, Record, Store},
};

/// The outputs of finished instances.
pub type Outputs = BTreeMap<NodeIndex, BTreeMap<String, Digest>>;

/// The key of an instance whose producers have all finished.
///
/// # Panics
/// If one of them has not.
pub fn key_of(graph: &Graph, node: NodeIndex, outputs: &Outputs) -> Key {
    let instance = &graph[node];
    let inputs = instance.inputs.iter().map(|input| {
        let of_item = |item: &crate::graph::InputItem| KeyInput {
            coordinates: item.coordinates.clone(),
            content: outputs[&item.producer][item.output].clone(),
        };
        (input.name.to_string(), input.items.iter().map(of_item).collect())
    });
    Key {
        format: FORMAT,
        kind: instance.kind.name.into(),
        code: instance.kind.fingerprint.into(),
        params: instance.params.clone(),
        seed: instance.seed,
        inputs: inputs.collect(),
    }
}

/// The contents that a record's outputs have.
pub fn contents(record: &Record) -> BTreeMap<String, Digest> {
    record.outputs.iter().map(|(name, stored)| (name.clone(), stored.content.clone())).collect()
}

/// Looks keys up, and explains why one is not there.
pub struct Resolver<'a> {
    pub store: &'a Store,
    /// All records by instance, read when the first explanation is asked for.
    earlier: OnceCell<BTreeMap<String, Vec<Record>>>,
}

/// Whether an instance must run.
pub enum Decision {
    Hit(Box<Record>),
    Miss { reason: String },
}

impl<'a> Resolver<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self { store, earlier: OnceCell::new() }
    }

    pub fn decide(&self, instance: &Instance, key: &Key) -> Decision {
        match self.lookup(instance, key) {
            Lookup::Hit(record) => Decision::Hit(record),
            Lookup::Damaged(why) => Decision::Miss { reason: format!("the cached result {why}") },
            Lookup::Absent => Decision::Miss { reason: self.explain(instance, key) },
        }
    }

    /// As [`Resolver::decide`], for whom the reason of a miss does not matter.
    pub fn hit(&self, instance: &Instance, key: &Key) -> Option<Box<Record>> {
        match self.lookup(instance, key) {
            Lookup::Hit(record) => Some(record),
            Lookup::Damaged(_) | Lookup::Absent => None,
        }
    }

    /// What the store has, with every output that the kind declares.
    fn lookup(&self, instance: &Instance, key: &Key) -> Lookup {
        let declares = |record: &Record| {
            instance.kind.outputs.iter().all(|output| record.outputs.contains_key(output.name))
        };
        match self.store.lookup(&key.digest()) {
            Lookup::Hit(record) if !declares(&record) => Lookup::Damaged("lacks an output".into()),
            Lookup::Damaged(why) => Lookup::Damaged(format!("is damaged: {why}")),
            found => found,
        }
    }

    /// What differs from the earlier result that is nearest.
    fn explain(&self, instance: &Instance, key: &Key) -> String {
        let earlier = self.earlier.get_or_init(|| {
            let mut by_instance: BTreeMap<String, Vec<Record>> = BTreeMap::new();
            for (_, record) in self.store.records() {
                by_instance.entry(record.provenance.instance.clone()).or_default().push(record);
            }
            by_instance
        });
        let candidates = earlier.get(&instance.name).into_iter().flatten();
        let differences = candidates.map(|r| (key.differences(&r.key), r.provenance.finished));
        let nearest = differences.min_by_key(|(found, finished)| (found.len(), std::cmp::Reverse(*finished)));
        match nearest {
            Some((found, _)) if !found.is_empty() => found.join("; "),
            Some(_) => "its cached result is gone".into(),
            None => "never ran".into(),
        }
    }
}
