//! Care for a store: whether everything in it is sound, what it weighs, and what can go.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::UNIX_EPOCH,
};

use rayon::prelude::*;

use super::{
    content::content_of,
    folder::{Lock, Store},
    record::Record,
};
use crate::{
    error::{Error, Result},
    files::delete,
    key::Digest,
};

/// What is wrong in a store.
#[derive(Debug, Default)]
pub struct Verified {
    pub results: usize,
    pub objects: usize,
    /// Objects that are not what their address says, and why.
    pub objects_damaged: BTreeMap<Digest, String>,
    /// Results that cannot be used, and why.
    pub results_damaged: BTreeMap<Digest, String>,
}

/// What a store holds that nothing needs.
#[derive(Debug, Default)]
pub struct Waste {
    /// Results that are not to be kept.
    pub results: BTreeSet<Digest>,
    /// Objects that no kept result has.
    pub objects: BTreeSet<Digest>,
    /// Logs, unfinished work and drafts of what is not kept or was left behind.
    pub others: BTreeSet<PathBuf>,
    pub bytes: u64,
}

impl Verified {
    pub fn is_sound(&self) -> bool {
        self.objects_damaged.is_empty() && self.results_damaged.is_empty()
    }
}

impl Store {
    /// Held by a run for as long as it lasts: nothing is tidied up meanwhile. None in a cache that cannot be written, where
    /// nothing can be tidied up either.
    pub fn enter(&self) -> Option<Lock> {
        let file = self.gate().ok()?;
        file.lock_shared().ok()?;
        Some(Lock::of(file))
    }

    /// Held while the store is tidied up; no run can begin meanwhile.
    ///
    /// # Errors
    /// While a run uses the store, and where it cannot be written.
    pub fn close(&self) -> Result<Lock> {
        let file = self.gate()?;
        match file.try_lock() {
            Ok(()) => Ok(Lock::of(file)),
            Err(TryLockError::WouldBlock) => {
                Err(Error::machine(format!("a run uses the cache `{}`", self.root().display()))
                    .hint("wait for it to end, or interrupt it: what is finished is kept"))
            }
            Err(TryLockError::Error(e)) => Err(self.unreadable(e)),
        }
    }

    fn gate(&self) -> Result<File> {
        self.create(&self.root().join("locks").join("cache"))
    }

    /// An error of this store's folder.
    pub fn unreadable(&self, e: io::Error) -> Error {
        Error::io(format!("cannot use the cache `{}`", self.root().display()))(e)
    }

    /// All objects, by the addresses that their paths spell.
    pub fn objects(&self) -> io::Result<BTreeSet<Digest>> {
        let mut found = BTreeSet::new();
        for head in entries(&self.root().join("objects"))? {
            for tail in entries(&head)? {
                let name = |path: &Path| path.file_name()?.to_str().map(String::from);
                let address = name(&head).zip(name(&tail)).map(|(head, tail)| head + &tail);
                found.extend(address.and_then(|address| Digest::try_from(address).ok()));
            }
        }
        Ok(found)
    }

    /// Reads everything. `seen` is told how many objects of how many have been read.
    pub fn verify(&self, seen: impl Fn(usize, usize) + Sync) -> io::Result<Verified> {
        let objects = self.objects()?;
        let done = AtomicUsize::new(0);
        let wrong = |address: &Digest| {
            let problem = match content_of(&self.object(address)) {
                Ok(found) if found.digest == *address => None,
                Ok(_) => Some("its content has changed on disk".to_string()),
                Err(e) => Some(format!("it cannot be read: {e}")),
            };
            seen(done.fetch_add(1, Ordering::Relaxed) + 1, objects.len());
            problem.map(|problem| (address.clone(), problem))
        };
        let objects_damaged: BTreeMap<Digest, String> = objects.par_iter().filter_map(wrong).collect();
        let mut verified = Verified { objects: objects.len(), objects_damaged, ..Verified::default() };
        for key in self.keys()? {
            verified.results += 1;
            let problem = match self.read(&key) {
                Err(e) => Some(format!("its record cannot be read: {e}")),
                Ok(record) if record.key.digest() != key => Some("its record is of another key".into()),
                Ok(record) => record.outputs.iter().find_map(|(name, stored)| {
                    if !objects.contains(&stored.content) {
                        Some(format!("its output `{name}` is gone"))
                    } else {
                        let problem = verified.objects_damaged.get(&stored.content)?;
                        Some(format!("of its output `{name}`: {problem}"))
                    }
                }),
            };
            verified.results_damaged.extend(problem.map(|problem| (key, problem)));
        }
        Ok(verified)
    }

    /// Sets aside what is damaged, so that the next run makes it again.
    pub fn repair(&self, verified: &Verified) -> io::Result<()> {
        // Results first: none may name an object that is gone.
        verified.results_damaged.keys().try_for_each(|key| self.set_aside(&self.result(key)))?;
        verified.objects_damaged.keys().try_for_each(|address| self.set_aside(&self.object(address)))
    }

    /// What is not needed by the results of the keys `kept`, nor to go on with them where they are not finished. Nobody knows
    /// the keys of a run that was killed: with `since`, what was made from that second on is kept, too.
    pub fn waste(&self, kept: &BTreeSet<Digest>, since: Option<u64>) -> io::Result<Waste> {
        let mut waste = Waste::default();
        let mut needed = BTreeSet::new();
        let mut kept = kept.clone();
        let mut finished = BTreeSet::new();
        for key in &self.keys()? {
            let record = self.read(key);
            let is_late = |record: &Record| since.is_some_and(|since| record.provenance.finished >= since);
            match record {
                Ok(record) if kept.contains(key) || is_late(&record) => {
                    kept.insert(key.clone());
                    finished.insert(key.clone());
                    needed.extend(record.outputs.into_values().map(|stored| stored.content));
                }
                _ => {
                    waste.bytes += size(&self.result(key))?;
                    waste.results.insert(key.clone());
                }
            }
        }
        waste.objects = self.objects()?.into_iter().filter(|address| !needed.contains(address)).collect();
        for address in &waste.objects {
            waste.bytes += size(&self.object(address))?;
        }
        // Nothing is being worked on while the store is closed; what was, goes on from its checkpoints.
        for path in own_entries(&self.root().join("work"))? {
            let key = key_of(&path).filter(|key| !finished.contains(key));
            match key.filter(|key| kept.contains(key) || since.is_some_and(|since| changed(&path) >= since)) {
                Some(key) => drop(kept.insert(key)),
                None => drop(waste.others.insert(path)),
            }
        }
        waste.others.extend(own_entries(&self.root().join("damaged"))?);
        let mut named = own_entries(&self.root().join("logs"))?;
        named.extend(own_entries(&self.root().join("locks"))?);
        for location in own_entries(&self.root().join("unsent"))? {
            named.extend(own_entries(&location)?);
        }
        for path in named {
            waste.others.extend(key_of(&path).filter(|key| !kept.contains(key)).map(|_| path));
        }
        for folder in ["results", "runs", "stamps"] {
            let is_draft =
                |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(".tmp"));
            waste.others.extend(entries(&self.root().join(folder))?.into_iter().filter(is_draft));
        }
        for path in &waste.others {
            waste.bytes += size(path)?;
        }
        Ok(waste)
    }

    /// Removes what is not needed. Stopped on the way it leaves a sound store: results go before what they name, and an
    /// object leaves its address whole.
    pub fn remove(&self, waste: &Waste) -> io::Result<()> {
        waste.results.iter().try_for_each(|key| delete(&self.result(key)))?;
        let work = self.root().join("work");
        fs::create_dir_all(&work)?;
        let gone = tempfile::Builder::new().prefix("gone-").tempdir_in(work)?;
        let leave = |address: &Digest| fs::rename(self.object(address), gone.path().join(address.as_str()));
        waste.objects.iter().try_for_each(leave)?;
        gone.close()?;
        waste.others.iter().try_for_each(|path| delete(path))
    }

    /// The keys that have a record, readable or not.
    pub fn keys(&self) -> io::Result<BTreeSet<Digest>> {
        let key = |path: &PathBuf| {
            let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
            Digest::try_from(name.to_string()).ok()
        };
        Ok(entries(&self.root().join("results"))?.iter().filter_map(key).collect())
    }

    fn read(&self, key: &Digest) -> io::Result<Record> {
        super::folder::read_record(&self.result(key))
    }
}

/// The key that a file or folder is named by.
fn key_of(path: &Path) -> Option<Digest> {
    Digest::try_from(path.file_stem()?.to_str()?.to_string()).ok()
}

/// When something was last changed, in seconds since 1970; now where that is not known.
fn changed(path: &Path) -> u64 {
    let time = fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(u64::MAX, |time| time.as_secs())
}

/// The same of a folder that is tidied up whole: nothing where a link leads elsewhere.
fn own_entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if folder.is_symlink() { Ok(vec![]) } else { entries(folder) }
}

/// What is in a folder, in order; nothing where there is none, or a stray file.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(vec![]);
        }
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Bytes of a file, or of all files in a folder.
pub fn size(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}
