//! What the store remembers of earlier results, to explain why one is not there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stages::contract::Code;

use crate::{
    key::{Digest, Known},
    store::{Record, Store, code_change},
};

/// The results that the store remembers.
pub struct Earlier<'a> {
    store: &'a Store,
    pub by_instance: BTreeMap<String, Vec<Record>>,
    /// By content: when it was made, and by which instance; the latest of several.
    makers: Mutex<BTreeMap<Digest, (u64, String)>>,
    /// What changed from an earlier fingerprint to the code of a kind, in words.
    code_changes: Mutex<BTreeMap<(String, &'static str), String>>,
    /// By stage: seconds of all its results, and how many there are.
    seconds: BTreeMap<String, (f64, u32)>,
    /// By stage, and by kind: an instance and where its record is among that instance's; the latest few.
    latest: BTreeMap<String, Vec<(u64, String, usize)>>,
}

/// When what this run makes was made: after all else.
const NOW: u64 = u64::MAX;
/// Of a stage or kind so many records are looked at for one that is alike.
const LOOKED_AT: usize = 20;

impl<'a> Earlier<'a> {
    pub fn of(store: &'a Store) -> Self {
        let mut earlier = Self {
            store,
            by_instance: BTreeMap::new(),
            makers: Mutex::default(),
            code_changes: Mutex::default(),
            seconds: BTreeMap::new(),
            latest: BTreeMap::new(),
        };
        let mut makers: BTreeMap<Digest, (u64, String)> = BTreeMap::new();
        for (_, record) in store.records() {
            let stage = record.provenance.stage().into();
            let (seconds, count) = earlier.seconds.entry(stage).or_default();
            *seconds += record.provenance.seconds;
            *count += 1;
            let made = (record.provenance.finished, record.provenance.instance.clone());
            for stored in record.outputs.values() {
                let maker = makers.entry(stored.content.clone()).or_default();
                *maker = made.clone().max(std::mem::take(maker));
            }
            let of_instance = earlier.by_instance.entry(made.1.clone()).or_default();
            let names = BTreeSet::from([record.key.kind.clone(), record.provenance.stage().to_string()]);
            for name in names {
                let latest = earlier.latest.entry(name).or_default();
                latest.push((made.0, made.1.clone(), of_instance.len()));
            }
            of_instance.push(record);
        }
        for latest in earlier.latest.values_mut() {
            latest.sort_by(|a, b| b.cmp(a));
            latest.truncate(LOOKED_AT);
        }
        *locked(&earlier.makers) = makers;
        earlier
    }

    /// The latest results of a stage, or of a kind, the newest first.
    pub fn latest_of(&self, name: &str) -> impl Iterator<Item = &Record> {
        let latest = self.latest.get(name).into_iter().flatten();
        latest.map(|(_, instance, place)| &self.by_instance[instance][*place])
    }

    /// From now on it is known who made these; of several the first by name.
    pub fn made(&self, instance: &str, outputs: &BTreeMap<String, Digest>) {
        let mut makers = locked(&self.makers);
        for content in outputs.values() {
            let maker = makers.entry(content.clone()).or_default();
            if maker.0 < NOW || instance < maker.1.as_str() {
                *maker = (NOW, instance.into());
            }
        }
    }

    /// How long the results of a stage took in the mean; none where there is none.
    pub fn duration(&self, stage: &str) -> Option<Duration> {
        let (seconds, count) = self.seconds.get(stage)?;
        Duration::try_from_secs_f64(seconds / f64::from(*count)).ok()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Earlier results, beside the code that there is now.
pub struct Now<'e, 's> {
    pub earlier: &'e Earlier<'s>,
    pub code: Code,
}

impl Known for Now<'_, '_> {
    fn maker(&self, content: &Digest) -> Option<String> {
        locked(&self.earlier.makers).get(content).map(|(_, name)| name.clone())
    }

    fn code_change(&self, old: &str, _: &str) -> String {
        let mut known = locked(&self.earlier.code_changes);
        let change = known.entry((old.into(), self.code.fingerprint)).or_insert_with(|| {
            let now = self.code.parts.iter().map(|(name, part)| (name.to_string(), part.to_string()));
            code_change(self.earlier.store.code(old).as_ref(), Some(&now.collect()))
        });
        change.clone()
    }
}
