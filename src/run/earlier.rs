//! What the store remembers of earlier results, to explain why one is not there.

use std::{collections::BTreeMap, time::Duration};

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
    makers: BTreeMap<Digest, (u64, String)>,
    /// By stage: seconds of all its results, and how many there are.
    seconds: BTreeMap<String, (f64, u32)>,
}

impl<'a> Earlier<'a> {
    pub fn of(store: &'a Store) -> Self {
        let mut earlier =
            Self { store, by_instance: BTreeMap::new(), makers: BTreeMap::new(), seconds: BTreeMap::new() };
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
            earlier.by_instance.entry(made.1).or_default().push(record);
        }
        earlier
    }

    /// How long the results of a stage took in the mean; none where there is none.
    pub fn duration(&self, stage: &str) -> Option<Duration> {
        let (seconds, count) = self.seconds.get(stage)?;
        Duration::try_from_secs_f64(seconds / f64::from(*count)).ok()
    }
}

/// Earlier results, beside the code that there is now.
pub struct Now<'a> {
    pub earlier: &'a Earlier<'a>,
    pub code: Code,
}

impl Known for Now<'_> {
    fn maker(&self, content: &Digest) -> Option<&str> {
        self.earlier.makers.get(content).map(|(_, name)| name.as_str())
    }

    fn code_change(&self, old: &str, _: &str) -> String {
        let now = self.code.parts.iter().map(|(name, part)| (name.to_string(), part.to_string())).collect();
        code_change(self.earlier.store.code(old).as_ref(), Some(&now))
    }
}
