//! `pipeline cache export`.

use std::{path::Path, process::ExitCode};

use indicatif::HumanBytes;

use crate::{
    cli::{args::CacheFolder, output},
    error::{Error, Result},
    files::draft_in,
    history::{History, Ref},
    run::Outcome,
    store::Store,
};

pub fn run(run: &Ref, file: &Path, cache: &CacheFolder) -> Result<ExitCode> {
    let (store, history) = (Store::new(&cache.folder), History::new(&cache.folder));
    let run = history.find(run)?;
    let keys = run.keys()?;
    let is_gone = |o: &&Outcome| o.key.as_ref().is_some_and(|key| store.record_of(key).is_none());
    if let Some(outcome) = run.instances.iter().find(is_gone) {
        let message = format!("the result of `{}` in the run `{}` is gone", outcome.instance, run.id);
        return Err(Error::experiment(message).hint("run the experiment again, and export that run"));
    }
    let write = || {
        if file.exists() {
            return Err(std::io::Error::other("there is a file of that name"));
        }
        let folder = file.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut draft = draft_in(folder)?;
        let record = history.raw(&run.id).map_err(|e| std::io::Error::other(e.message))?;
        store.export(&keys, &[record], &mut std::io::BufWriter::new(draft.as_file_mut()))?;
        draft.as_file().sync_all()?;
        let bytes = draft.as_file().metadata()?.len();
        draft.persist_noclobber(file).map_err(|e| e.error)?;
        Ok(bytes)
    };
    let bytes = write().map_err(|e| {
        Error::io(format!("cannot write the archive `{}`", file.display()))(e)
            .hint("`pipeline cache verify` says whether results are damaged; or name another file")
    })?;
    output::say(&format!("{} results of run {}: {}", keys.len(), run.id, HumanBytes(bytes)));
    Ok(ExitCode::SUCCESS)
}
