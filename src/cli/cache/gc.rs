//! `pipeline cache gc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use indicatif::HumanBytes;

use crate::{
    cli::{args::CacheOptions, output},
    error::{Error, Result},
    history::{Begun, History, Run},
    key::Digest,
    store::Store,
};

pub fn run(options: &CacheOptions, keep: Option<u32>, dry_run: bool) -> Result<ExitCode> {
    let (store, history) = (Store::new(&options.cache.folder), History::new(&options.cache.folder));
    let _closed = (!dry_run).then(|| store.close()).transpose()?;
    let (kept, gone) = divide(&history, keep)?;
    let (killed, done): (Vec<Begun>, Vec<Begun>) = history.unrecorded().into_iter().partition(|begun| {
        // With `--keep`, what is older than all that is kept goes as well.
        let is_old = keep.is_some() && !kept.is_empty() && kept.iter().all(|run| run.id > begun.id);
        !is_old && !kept.iter().any(|run| begun.is_done_by(run))
    });
    if kept.is_empty() && killed.is_empty() {
        return Err(Error::experiment("no run is recorded in this cache: nothing would be kept")
            .hint("run the experiments whose results you want to keep; what is cached is not made again"));
    }
    let keys: BTreeSet<Digest> =
        kept.iter().flat_map(|run| &run.instances).filter_map(|outcome| outcome.key.clone()).collect();
    let since = killed.iter().map(Begun::started).min();
    let waste = store.waste(&keys, since).map_err(|e| store.unreadable(e))?;
    if !dry_run {
        // Runs first: none that is listed lacks a result.
        gone.iter().try_for_each(|id| history.remove(id))?;
        done.iter().for_each(|begun| history.forget(begun));
        store.remove(&waste).map_err(|e| store.unreadable(e))?;
    }
    let (results, objects, others) = (waste.results.len(), waste.objects.len(), waste.others.len());
    if options.json {
        return output::json(&serde_json::json!({
            "dry_run": dry_run, "kept_runs": kept.len(), "killed_runs": killed.len(), "runs": gone, "results": waste.results,
            "objects": waste.objects, "others": waste.others, "bytes": waste.bytes,
        }));
    }
    output::say(&format!(
        "{} {} of {} runs, {results} results, {objects} objects, {others} logs and leftovers: {}",
        if dry_run { "would remove" } else { "removed" },
        gone.len(),
        kept.len() + gone.len(),
        HumanBytes(waste.bytes)
    ));
    Ok(ExitCode::SUCCESS)
}

/// The runs that are kept, and the ids of the others. Runs of other selections (`--only`) do not count against each other,
/// and one that was not finished against none: it is kept as long as the finished ones before it.
fn divide(history: &History, keep: Option<u32>) -> Result<(Vec<Run>, Vec<String>)> {
    let mut counts: BTreeMap<(String, Vec<String>), u32> = BTreeMap::new();
    let (mut kept, mut gone) = (vec![], vec![]);
    for id in history.ids() {
        // A record that cannot be read may name what is needed.
        let run = history.read(&id)?;
        let count = counts.entry((run.experiment.clone(), run.only.clone())).or_default();
        if keep.is_some_and(|most| *count >= most) {
            gone.push(id);
            continue;
        }
        *count += u32::from(run.is_finished());
        kept.push(run);
    }
    Ok((kept, gone))
}
