//! Stamps: by which a glance tells that what was verified once has not changed since, as git's index does.
//!
//! ```text
//! cache/stamps/<experiment>.json   what runs of an experiment have verified, with the stamps that it had then
//! ```
//!
//! A stamp is what the system notes of a file: its number, its size, and when it was changed last. What has the stamp that it
//! had before every byte of it was read needs not be read again to be a hit. Not every change leaves a trace in a stamp: a
//! bit that rots on the disk does not, nor does what a program writes through a map of the file that it has had before. So
//! whatever is handed on, to an instance that runs or to the reports, is read whole then, and `pipeline cache verify` reads
//! all there is.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, Write},
    iter,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{content::walk, folder::Store, record::Stored};
use crate::{
    files::{self, draft_in},
    key::Digest,
    seal,
};

/// No file of stamps is larger, in bytes.
const LARGEST: u64 = 1 << 28;
/// What was changed so recently could change again within one tick of the file system's clock, and keep its stamp.
const SETTLED: Duration = Duration::from_secs(2);

/// Inode, size, and the times of the last write and of the last change: seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp(u64, u64, i64, i64, i64, i64);

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        Ok(Self(meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.2.max(self.4)).unwrap_or(u64::MAX);
        let changed = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        changed.and_then(|changed| changed.checked_add(SETTLED)).is_some_and(|settled| settled < now)
    }
}

/// A file, or a folder with all that is in it, by their names below it; it is called "" itself.
type Artifact = Vec<(String, Stamp)>;

fn artifact(path: &Path) -> io::Result<Artifact> {
    walk(path)?.into_iter().map(|entry| Ok((entry.name, Stamp::of(&entry.path)?))).collect()
}

/// Many stamps in one.
fn sum(stamps: impl IntoIterator<Item = io::Result<Stamp>>) -> io::Result<Digest> {
    let mut hash = blake3::Hasher::new();
    for stamp in stamps {
        let Stamp(inode, size, modified, modified_nanos, changed, changed_nanos) = stamp?;
        hash.update(&inode.to_le_bytes()).update(&size.to_le_bytes());
        for time in [modified, modified_nanos, changed, changed_nanos] {
            hash.update(&time.to_le_bytes());
        }
    }
    Ok(hash.finalize().into())
}

/// A result that was verified.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    /// With the names of what each consists of.
    outputs: BTreeMap<String, (Stored, Vec<String>)>,
    /// Of its record, and of all these in order.
    sum: Digest,
}

impl Seen {
    fn is_unchanged(&self, store: &Store, key: &Digest) -> bool {
        let of_output = |(stored, names): &(Stored, Vec<String>)| {
            let object = store.object(&stored.content);
            let stamp = |name: &String| {
                if name.is_empty() { Stamp::of(&object) } else { Stamp::of(&object.join(name)) }
            };
            names.iter().map(stamp).collect::<Vec<_>>()
        };
        let stamps = self.outputs.values().flat_map(of_output);
        sum(iter::once(Stamp::of(&store.result(key))).chain(stamps)).is_ok_and(|sum| sum == self.sum)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Stamps {
    results: HashMap<Digest, Seen>,
}

/// What was verified earlier, and what is now.
#[derive(Debug)]
pub struct Glance {
    /// Where they are kept; nowhere for an experiment whose name is none.
    path: Option<PathBuf>,
    before: Stamps,
    new: Mutex<Stamps>,
    /// One of them did not hold.
    failed: AtomicBool,
}

impl Glance {
    /// What runs of an experiment have noted in a store.
    pub fn open(store: &Store, experiment: &str) -> Self {
        let is_name = !experiment.starts_with('.') && !experiment.contains(['/', '\0']);
        let path = is_name.then(|| store.root().join("stamps").join(format!("{experiment}.json")));
        let read = |path: &PathBuf| seal::open(&files::read(path, LARGEST)?);
        // Without them everything is read.
        let before = path.as_ref().and_then(|path| read(path).ok()).unwrap_or_default();
        Self { path, before, new: Mutex::default(), failed: AtomicBool::new(false) }
    }

    /// The outputs of a result, if nothing of it has changed since it was verified.
    pub fn hit(&self, store: &Store, key: &Digest) -> Option<BTreeMap<String, Stored>> {
        let seen = self.before.results.get(key).filter(|seen| seen.is_unchanged(store, key))?;
        Some(seen.outputs.iter().map(|(name, (stored, _))| (name.clone(), stored.clone())).collect())
    }

    /// To be called before a result is read, all of it: what changes meanwhile has another stamp then.
    pub fn reading<'a>(&'a self, store: &'a Store, key: &'a Digest) -> Reading<'a> {
        let record = Stamp::of(&store.result(key));
        Reading { glance: self, store, key, at: SystemTime::now(), record, outputs: BTreeMap::new() }
    }

    /// One of them does not hold.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Writes down what was noted. Where it cannot be written nothing is lost but time.
    pub fn keep(&self, store: &Store) {
        let Some(path) = &self.path else { return };
        if self.failed.load(Ordering::Relaxed) {
            // Others may not hold either: everything is read next time.
            let _ = fs::remove_file(path);
            return;
        }
        let new = std::mem::take(&mut *self.noted());
        if new.results.is_empty() {
            return;
        }
        // Another run may have found meanwhile that they do not hold.
        let mut all = if path.exists() { self.before.clone() } else { Stamps::default() };
        all.results.retain(|key, _| store.result(key).exists());
        all.results.extend(new.results);
        let write = || {
            let folder = path.parent().unwrap_or(store.root());
            fs::create_dir_all(folder)?;
            let mut draft = draft_in(folder)?;
            draft.write_all(&seal::close(serde_json::to_vec(&all)?))?;
            draft.persist(path).map_err(|e| e.error)
        };
        if let Err(e) = write() {
            tracing::debug!(error = %e, "what was verified cannot be remembered");
        }
    }

    fn noted(&self) -> MutexGuard<'_, Stamps> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A result that is being read.
pub struct Reading<'a> {
    glance: &'a Glance,
    store: &'a Store,
    key: &'a Digest,
    at: SystemTime,
    record: io::Result<Stamp>,
    outputs: BTreeMap<String, (Stored, io::Result<Artifact>)>,
}

impl Reading<'_> {
    /// To be called before an output of it is read.
    pub fn output(&mut self, name: &str, stored: &Stored) {
        let found = artifact(&self.store.object(&stored.content));
        self.outputs.insert(name.into(), (stored.clone(), found));
    }

    /// All of it is sound.
    pub fn sound(self) {
        let (mut stamps, mut outputs) = (vec![self.record], BTreeMap::new());
        for (output, (stored, found)) in self.outputs {
            let Ok(found) = found else { return };
            let (names, of_names): (Vec<_>, Vec<_>) = found.into_iter().unzip();
            stamps.extend(of_names.into_iter().map(Ok));
            outputs.insert(output, (stored, names));
        }
        let is_settled =
            |stamp: &io::Result<Stamp>| stamp.as_ref().is_ok_and(|stamp| stamp.is_settled(self.at));
        if stamps.iter().all(is_settled)
            && let Ok(sum) = sum(stamps)
        {
            self.glance.noted().results.insert(self.key.clone(), Seen { outputs, sum });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_of_every_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("artifact");
        let changes: [fn(&Path); 7] = [
            |at| fs::write(at.join("a"), "2").unwrap(),
            |at| {
                // Another program can set back the time of the last write, and not that of the last change.
                let file = fs::File::options().write(true).open(at.join("a")).unwrap();
                let modified = file.metadata().unwrap().modified().unwrap();
                (&file).write_all(b"2").unwrap();
                file.set_modified(modified).unwrap();
            },
            |at| fs::remove_file(at.join("a")).unwrap(),
            |at| fs::write(at.join("b/new"), "").unwrap(),
            |at| fs::remove_dir_all(at.join("b")).unwrap(),
            |at| fs::rename(at.join("a"), at.join("c")).unwrap(),
            |at| {
                fs::write(at.join("other"), "1").unwrap();
                fs::rename(at.join("other"), at.join("a")).unwrap();
            },
        ];
        for (i, change) in changes.iter().enumerate() {
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("b")).unwrap();
            fs::write(path.join("a"), "1").unwrap();
            fs::write(path.join("b/c"), "").unwrap();
            let before = artifact(&path).unwrap();
            assert_eq!(before.len(), 4);
            let now = || sum(before.iter().map(|(name, _)| Stamp::of(&path.join(name))));
            let known = sum(before.iter().map(|(_, stamp)| Ok(*stamp))).unwrap();
            assert_eq!(now().unwrap(), known);
            // Past a tick of the file system's clock.
            std::thread::sleep(Duration::from_millis(20));
            change(&path);
            assert!(now().is_err() || now().unwrap() != known, "change {i}");
        }
    }

    #[test]
    fn what_was_changed_just_now_is_not_settled() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stamp = Stamp::of(file.path()).unwrap();
        let now = SystemTime::now();
        assert!(!stamp.is_settled(now));
        assert!(stamp.is_settled(now + 2 * SETTLED));
        assert!(!stamp.is_settled(now - 2 * SETTLED), "the clock went back");
    }
}
