//! `pipeline cache du`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use indicatif::HumanBytes;
use serde::Serialize;

use crate::{
    cli::{args::CacheOptions, output},
    error::Result,
    key::Digest,
    store::{Store, size},
};

/// What the results of a stage weigh. An object that several stages have counts for each of them.
#[derive(Default, Serialize)]
struct Share {
    stage: String,
    results: usize,
    bytes: u64,
}

pub fn run(options: &CacheOptions) -> Result<ExitCode> {
    let store = Store::new(&options.cache.folder);
    let mut shares: BTreeMap<String, (Share, BTreeSet<Digest>)> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (_, record) in store.records() {
        let stage = record.provenance.stage().to_string();
        let (share, counted) = shares.entry(stage.clone()).or_default();
        share.stage = stage;
        share.results += 1;
        for stored in record.outputs.into_values() {
            if counted.insert(stored.content.clone()) {
                share.bytes += stored.bytes;
            }
            used.insert(stored.content);
        }
    }
    let mut shares: Vec<Share> = shares.into_values().map(|(share, _)| share).collect();
    shares.sort_by(|a, b| (b.bytes, &a.stage).cmp(&(a.bytes, &b.stage)));
    let (mut total, mut unused) = (0, 0);
    for address in store.objects().map_err(|e| store.unreadable(e))? {
        let bytes = size(&store.object(&address)).map_err(|e| store.unreadable(e))?;
        total += bytes;
        if !used.contains(&address) {
            unused += bytes;
        }
    }
    if options.json {
        return output::json(&serde_json::json!({ "stages": shares, "objects": total, "unused": unused }));
    }
    let row = |s: &Share| vec![s.stage.clone(), s.results.to_string(), HumanBytes(s.bytes).to_string()];
    output::text(&output::table(&["STAGE", "RESULTS", "SIZE"], &shares.iter().map(row).collect::<Vec<_>>()))?;
    output::say(&format!("{} in objects, {} of them in no result", HumanBytes(total), HumanBytes(unused)));
    Ok(ExitCode::SUCCESS)
}
