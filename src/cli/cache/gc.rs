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
    let runs = history.ids().iter().map(|id| history.read(id)).collect::<Result<Vec<Run>>>()?;
    let (killed, done): (Vec<Begun>, Vec<Begun>) =
        history.unrecorded().into_iter().partition(|begun| counts(begun, &runs, keep));
    let recorded: Vec<String> = runs.iter().map(|run| run.id.clone()).collect();
    let (kept, gone) = divide(runs, keep);
    if kept.is_empty() && killed.is_empty() {
        return Err(Error::experiment("no run is recorded in this cache: nothing would be kept")
            .hint("run the experiments whose results you want to keep; what is cached is not made again"));
    }
    let of_kept = kept.iter().flat_map(|run| &run.instances).filter_map(|outcome| outcome.key.clone());
    let keys: BTreeSet<Digest> = of_kept.chain(killed.iter().flat_map(|begun| begun.keys.clone())).collect();
    let since = killed.iter().map(|begun| begun.started).min();
    let waste = store.waste(&keys, since).map_err(|e| store.unreadable(e))?;
    if !dry_run {
        // Runs first: none that is listed lacks a result.
        gone.iter().try_for_each(|id| history.remove(id))?;
        done.iter().for_each(|begun| history.forget(begun));
        // Of runs that were killed between their record and the end.
        recorded.iter().for_each(|id| history.take_back(id));
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
    if !killed.is_empty() {
        output::say(&format!(
            "what {} runs need that were killed, or still run, is kept: run them to their end, or give `--keep N`",
            killed.len()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The runs that are kept, and the ids of the others. Runs of other selections (`--only`) do not count against each other,
/// and one that was not finished against none: it is kept as long as the finished ones before it.
fn divide(runs: Vec<Run>, keep: Option<u32>) -> (Vec<Run>, Vec<String>) {
    let mut counts: BTreeMap<(String, BTreeSet<String>), u32> = BTreeMap::new();
    let (mut kept, mut gone) = (vec![], vec![]);
    for run in runs {
        let count = counts.entry((run.experiment.clone(), selection(&run.only))).or_default();
        if keep.is_some_and(|most| *count >= most) {
            gone.push(run.id);
            continue;
        }
        *count += u32::from(run.is_finished());
        kept.push(run);
    }
    (kept, gone)
}

/// What `--only` names, in whatever order.
fn selection(only: &[String]) -> BTreeSet<String> {
    only.iter().cloned().collect()
}

/// Whether a run that left no record still keeps what it needs and what was made since it began: not when a later
/// record names all of it, nor when as many runs as are to be kept were finished since, of the same selection; of any
/// whole experiment where its own is not known.
fn counts(begun: &Begun, runs: &[Run], keep: Option<u32>) -> bool {
    let later = runs.iter().filter(|run| run.id > begun.id && run.is_finished());
    let alike = later.filter(|run| {
        let same = begun.experiment.is_empty() || run.experiment == begun.experiment;
        same && selection(&run.only) == selection(&begun.only)
    });
    let is_old = keep.is_some_and(|most| alike.count() >= most as usize);
    !is_old && !runs.iter().any(|run| begun.is_done_by(run))
}
