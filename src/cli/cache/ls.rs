//! `pipeline cache ls`.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

use crate::{
    cli::{args::CacheOptions, output},
    error::Result,
    key::Digest,
    store::Store,
};

#[derive(Serialize)]
struct Entry {
    key: Digest,
    instance: String,
    kind: String,
    /// Seconds since 1970.
    finished: u64,
    seconds: f64,
    bytes: u64,
}

pub fn run(options: &CacheOptions) -> Result<ExitCode> {
    let records = Store::new(&options.cache.folder).records();
    let mut entries: Vec<Entry> = records
        .into_iter()
        .map(|(key, record)| Entry {
            key,
            instance: record.provenance.instance,
            kind: record.key.kind,
            finished: record.provenance.finished,
            seconds: record.provenance.seconds,
            bytes: record.outputs.values().map(|stored| stored.bytes).sum(),
        })
        .collect();
    entries.sort_by(|a, b| (b.finished, &a.instance, &a.key).cmp(&(a.finished, &b.instance, &b.key)));
    if options.json {
        return output::json(&serde_json::json!({ "results": entries }));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let row = |e: &Entry| {
        let age = HumanDuration(Duration::from_secs(now.saturating_sub(e.finished)));
        vec![
            e.key.short().into(),
            e.instance.clone(),
            format!("{:.1} s", e.seconds),
            HumanBytes(e.bytes).to_string(),
            format!("{age} ago"),
        ]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    output::text(&output::table(&["KEY", "INSTANCE", "TOOK", "SIZE", "FINISHED"], &rows))?;
    let total: u64 = entries.iter().map(|e| e.bytes).sum();
    output::say(&format!("{} results, {}", entries.len(), HumanBytes(total)));
    Ok(ExitCode::SUCCESS)
}
