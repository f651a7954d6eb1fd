//! `pipeline cache push` and `pull`.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::{
    cli::{
        args::{CacheFolder, RemoteOption},
        output,
        remote::trouble,
    },
    error::{Error, Result},
    history::{History, Ref, Run},
    key::Digest,
    remote::{Course, Trouble},
    seal,
    store::{Lookup, Store},
};

pub fn push(run: &Ref, cache: &CacheFolder, remote: &RemoteOption) -> Result<ExitCode> {
    let (store, history) = (Store::new(&cache.folder), History::new(&cache.folder));
    let _entered = store.enter();
    let run = history.find(run)?;
    let remote = remote.needed()?;
    let keys = run.keys()?;
    transfer(&keys, "sent", |key, course| remote.push(key, &store, course).map(|()| true))?;
    // Last, when all that it names is there.
    let (name, bytes) = history.raw(&run.id)?;
    remote.push_run(&name, bytes).map_err(trouble)?;
    output::say(&format!("run {} is in the shared cache", run.id));
    Ok(ExitCode::SUCCESS)
}

pub fn pull(run: &Ref, cache: &CacheFolder, remote: &RemoteOption) -> Result<ExitCode> {
    let (store, history) = (Store::new(&cache.folder), History::new(&cache.folder));
    let _entered = store.enter();
    let remote = remote.needed()?;
    let ids = remote.runs().map_err(trouble)?;
    let id = run.among(&ids)?;
    let bytes = remote.run(id).map_err(trouble)?;
    let record: Run = seal::open(&bytes).map_err(|e| {
        Error::machine(format!("the shared cache's record of run `{id}` cannot be read: {e}"))
    })?;
    let keys = record.keys()?;
    transfer(&keys, "fetched", |key, course| {
        let disk = |e: Error| Trouble::Disk(std::io::Error::other(e.message));
        // Another run may work on it: it is there when that has ended.
        let Some(_lock) = store.try_lock(key).map_err(disk)? else { return Ok(false) };
        if let Lookup::Hit(_) = store.lookup(key) {
            return Ok(true);
        }
        let found = remote.fetch(key, &store, &|_| true, course)?;
        found
            .map(|_| true)
            .ok_or_else(|| Trouble::Damaged(format!("the shared cache lacks the result {}", key.short())))
    })?;
    history.take_in(&format!("{id}.json"), &bytes)?;
    output::say(&format!("run {id} is in the cache"));
    Ok(ExitCode::SUCCESS)
}

/// Results that are moved at once.
const AT_ONCE: usize = 4;

/// Moves results, some at once, and shows how far it is. What was moved stays moved.
fn transfer(
    keys: &BTreeSet<Digest>,
    done: &str,
    act: impl Fn(&Digest, Course<'_>) -> std::result::Result<bool, Trouble> + Sync,
) -> Result<()> {
    let bar = ProgressBar::new(keys.len() as u64);
    let template = "{bar:24} {pos}/{len} results  {msg}  {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("it is sound"));
    let (bytes, left) = (AtomicU64::new(0), AtomicUsize::new(0));
    let moved = |more| {
        let all = bytes.fetch_add(more, Ordering::Relaxed) + more;
        bar.set_message(HumanBytes(all).to_string());
    };
    let course = Course { stop: &|| false, moved: &moved };
    // Not rayon's threads: one that waits for a network may not be given another key meanwhile.
    let (waiting, first) = (Mutex::new(keys.iter()), Mutex::new(None));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(key) = next() {
            match act(key, course) {
                Ok(true) => {}
                Ok(false) => {
                    left.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) => {
                    first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                    // The others end what they have begun.
                    while next().is_some() {}
                    return;
                }
            }
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    if let Some(e) = first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(trouble(e));
    }
    bar.finish_and_clear();
    let bytes = HumanBytes(bytes.into_inner());
    output::say(&format!("{} results, {bytes} {done}", keys.len() - left.load(Ordering::Relaxed)));
    match left.into_inner() {
        0 => Ok(()),
        some => Err(Error::machine(format!("another run works on {some} results"))
            .hint("call again when it has ended: what was fetched is kept")),
    }
}
