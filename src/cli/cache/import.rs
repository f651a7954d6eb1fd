//! `pipeline cache import`.

use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
    process::ExitCode,
};

use crate::{
    cli::{args::CacheFolder, output},
    error::{Error, Result},
    history::History,
    store::Store,
};

pub fn run(file: &Path, cache: &CacheFolder) -> Result<ExitCode> {
    let (store, history) = (Store::new(&cache.folder), History::new(&cache.folder));
    let _entered = store.enter();
    let read = || {
        let imported = store.import(BufReader::new(File::open(file)?))?;
        // It stands at the end of the file.
        if imported.runs.is_empty() {
            return Err(io::Error::other("it has no record of a run: it was cut short, or is no archive"));
        }
        Ok(imported)
    };
    let imported = read().map_err(|e| {
        Error::io(format!("cannot take in `{}`", file.display()))(e)
            .hint("give a file that `pipeline cache export` has written; nothing unsound was taken in")
    })?;
    // Last, when all that they name is there.
    imported.runs.iter().try_for_each(|(name, bytes)| history.take_in(name, bytes))?;
    output::say(&format!(
        "took in {} results, {} objects and {} runs",
        imported.results,
        imported.objects,
        imported.runs.len()
    ));
    Ok(ExitCode::SUCCESS)
}
