//! An instance's key, and what the store has for it.

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use petgraph::graph::NodeIndex;
use stages::contract::Output;

use super::earlier::{Earlier, Now};
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
        code: instance.kind.code.fingerprint.into(),
        params: instance.params.clone(),
        seed: instance.seed,
        inputs: inputs.collect(),
    }
}

/// The contents that a record's outputs have.
pub fn contents(record: &Record) -> BTreeMap<String, Digest> {
    record.outputs.iter().map(|(name, stored)| (name.clone(), stored.content.clone())).collect()
}

/// Whether a record has every output that a kind declares.
pub fn declares(outputs: &[Output], record: &Record) -> bool {
    outputs.iter().all(|output| record.outputs.contains_key(output.name))
}

/// Looks keys up, and explains why one is not there.
pub struct Resolver<'a> {
    pub store: &'a Store,
    /// Read when the first explanation is asked for.
    earlier: OnceLock<Earlier<'a>>,
}

/// Whether an instance must run.
pub enum Decision {
    Hit(Box<Record>),
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

    pub fn decide(&self, instance: &Instance, key: &Key) -> Decision {
        match self.lookup(instance, key) {
            Lookup::Hit(record) => Decision::Hit(record),
            Lookup::Damaged(why) => Decision::Miss(Why::plain(format!("the cached result {why}"))),
            Lookup::Absent => Decision::Miss(self.explain(instance, key)),
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
        match self.store.lookup(&key.digest()) {
            Lookup::Hit(record) if !declares(instance.kind.outputs, &record) => {
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

    fn earlier(&self) -> &Earlier<'a> {
        self.earlier.get_or_init(|| Earlier::of(self.store))
    }

    /// What differs from the earlier result that is nearest.
    fn explain(&self, instance: &Instance, key: &Key) -> Why {
        let earlier = self.earlier();
        let known = Now { earlier, code: instance.kind.code };
        let candidates = earlier.by_instance.get(&instance.name).into_iter().flatten();
        let differences = candidates.map(|r| (key.differences(&r.key, &known), r));
        let nearest = differences
            .min_by_key(|(found, record)| (found.len(), std::cmp::Reverse(record.provenance.finished)));
        match nearest {
            Some((reasons, record)) if !reasons.is_empty() => {
                Why { reasons, nearest: Some(record.key.digest()) }
            }
            Some(_) => Why::plain("its cached result is gone"),
            None => Why::plain("never ran"),
        }
    }
}
