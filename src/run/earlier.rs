//! What the store remembers of earlier results, to explain why one is not there.

use std::{collections::BTreeMap, time::Duration};

use stages::contract::Code;

use super::resolve::Resolver;
use crate::{
    key::{Digest, Known},
    store::{Record, Store, code_change},
};

/// The results that the store remembers.
pub struct Earlier<'a> {
    store: &'a Store,
    pub by_instance: BTreeMap<String, Vec<Record>>,
    /// By content: when it was made, and by which instance; the latest of several.
    makers: BTreeMap<Digest, (u64, String)>,
    /// By stage: seconds of all its results, and how many there are.
    seconds: BTreeMap<String, (f64, u32)>,
    /// By kind: an instance and where its record is among that instance's; the latest few.
    latest: BTreeMap<String, Vec<(u64, String, usize)>>,
}

/// Of a kind so many records are looked at for one that is alike.
const LOOKED_AT: usize = 20;

impl<'a> Earlier<'a> {
    pub fn of(store: &'a Store) -> Self {
        let mut earlier = Self {
            store,
            by_instance: BTreeMap::new(),
            makers: BTreeMap::new(),
            seconds: BTreeMap::new(),
            latest: BTreeMap::new(),
        };
        for (_, record) in store.records() {
            let stage = record.provenance.stage().into();
            let (seconds, count) = earlier.seconds.entry(stage).or_default();
            *seconds += record.provenance.seconds;
            *count += 1;
            let made = (record.provenance.finished, record.provenance.instance.clone());
            for stored in record.outputs.values() {
                let maker = earlier.makers.entry(stored.content.clone()).or_default();
                *maker = made.clone().max(std::mem::take(maker));
            }
            let of_instance = earlier.by_instance.entry(made.1.clone()).or_default();
            let of_kind = earlier.latest.entry(record.key.kind.clone()).or_default();
            of_kind.push((made.0, made.1, of_instance.len()));
            of_instance.push(record);
        }
        for of_kind in earlier.latest.values_mut() {
            of_kind.sort_by(|a, b| b.cmp(a));
            of_kind.truncate(LOOKED_AT);
        }
        earlier
    }

    /// The latest results of a kind, the newest first.
    pub fn latest_of(&self, kind: &str) -> impl Iterator<Item = &Record> {
        let latest = self.latest.get(kind).into_iter().flatten();
        latest.map(|(_, instance, place)| &self.by_instance[instance][*place])
    }

    /// The instance that made a content.
    pub fn maker(&self, content: &Digest) -> Option<&str> {
        self.makers.get(content).map(|(_, name)| name.as_str())
    }

    /// What changed from an earlier fingerprint to the code that there is now.
    pub fn code_change(&self, old: &str, now: Code) -> String {
        let now = now.parts.iter().map(|(name, part)| (name.to_string(), part.to_string())).collect();
        code_change(self.store.code(old).as_ref(), Some(&now))
    }

    /// How long the results of a stage took in the mean; none where there is none.
    pub fn duration(&self, stage: &str) -> Option<Duration> {
        let (seconds, count) = self.seconds.get(stage)?;
        Duration::try_from_secs_f64(seconds / f64::from(*count)).ok()
    }
}

/// Earlier results, beside the code that there is now.
pub struct Now<'r, 'a> {
    pub resolver: &'r Resolver<'a>,
    pub code: Code,
}

impl Known for Now<'_, '_> {
    fn maker(&self, content: &Digest) -> Option<String> {
        self.resolver.maker(content)
    }

    fn code_change(&self, old: &str, _: &str) -> String {
        self.resolver.earlier().code_change(old, self.code)
    }
}
