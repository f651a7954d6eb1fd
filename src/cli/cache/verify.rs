//! `pipeline cache verify`.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::{FAILED, args::CacheOptions, output},
    error::Result,
    history::History,
    store::Store,
};

pub fn run(options: &CacheOptions, repair: bool) -> Result<ExitCode> {
    let (store, history) = (Store::new(&options.cache.folder), History::new(&options.cache.folder));
    let closed = repair.then(|| store.close()).transpose()?;
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{bar:24} {pos}/{len} objects  {eta} left").expect("it is sound"),
    );
    let seen = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let verified = store.verify(seen).map_err(|e| store.unreadable(e))?;
    bar.finish_and_clear();
    let (ids, runs) = (history.ids(), history.damaged());
    if repair {
        store.repair(&verified).map_err(|e| store.unreadable(e))?;
        let set_aside = |id: &String| store.set_aside(&history.path(id));
        runs.keys().try_for_each(set_aside).map_err(|e| store.unreadable(e))?;
    }
    drop(closed);
    let (objects, results) = (&verified.objects_damaged, &verified.results_damaged);
    if options.json {
        output::json(&serde_json::json!({
            "objects": verified.objects, "results": verified.results, "runs": ids.len(),
            "damaged": { "objects": objects, "results": results, "runs": runs }, "repaired": repair,
        }))?;
    } else {
        let object = |(address, why): (_, &String)| vec!["object".into(), format!("{address}"), why.clone()];
        let result = |(key, why): (_, &String)| vec!["result".into(), format!("{key}"), why.clone()];
        let run = |(id, why): (&String, &String)| vec!["run".into(), id.clone(), why.clone()];
        let stored = objects.iter().map(object).chain(results.iter().map(result));
        let rows: Vec<Vec<String>> = stored.chain(runs.iter().map(run)).collect();
        if !rows.is_empty() {
            output::text(&output::table(&["WHAT", "ADDRESS", "WHY"], &rows))?;
        }
        output::say(&format!(
            "{} objects, {} damaged; {} results, {} damaged; {} records of runs, {} damaged",
            verified.objects,
            objects.len(),
            verified.results,
            results.len(),
            ids.len(),
            runs.len()
        ));
    }
    Ok(match (verified.is_sound() && runs.is_empty(), repair) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => {
            output::say("what is damaged was set aside: the next run makes results again");
            ExitCode::SUCCESS
        }
        (false, false) => {
            output::say(
                "hint: `pipeline cache verify --repair` sets it aside, so that the next run makes results again",
            );
            ExitCode::from(FAILED)
        }
    })
}
