//! The store on disk.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    content::{content_of, walk},
    record::{Record, Stored},
    stamps::Glance,
};
use crate::{
    error::{Error, Result},
    files::{self, draft_in},
    key::Digest,
    seal,
};

/// Stands before everything that `take_in` and `record` do to the disk: a test stops them there for ever.
#[cfg(not(test))]
fn step() {}
#[cfg(test)]
use tests::step;

/// No result record is larger, in bytes.
pub(crate) const LARGEST_RECORD: u64 = 1 << 26;

/// A cache folder. Nothing is made on disk before something is written.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    glance: Option<Arc<Glance>>,
}

/// What the store has for a key.
#[derive(Debug)]
pub enum Lookup {
    /// A result, by its outputs: every byte was verified, now or, if nothing has changed since, earlier.
    Hit(BTreeMap<String, Stored>),
    Absent,
    /// There is something, but it cannot be trusted: why not.
    Damaged(String),
}

/// Held while a run works on a key; the system gives it free when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn of(file: File) -> Self {
        Self { _file: file }
    }
}

impl Store {
    /// A store that verifies all that it is asked for.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), glance: None }
    }

    /// A store for which a glance at what an experiment's runs have verified is enough (`stamps.rs`).
    pub fn of_experiment(root: impl Into<PathBuf>, experiment: &str) -> Self {
        let plain = Self::new(root);
        let glance = Glance::open(&plain, experiment);
        Self { glance: Some(Arc::new(glance)), ..plain }
    }

    /// Something turned out to have changed although a glance did not tell: all is read again next time.
    pub fn distrust_stamps(&self) {
        self.glance.iter().for_each(|glance| glance.fail());
    }

    /// Remembers what was verified.
    pub fn keep_stamps(&self) {
        self.glance.iter().for_each(|glance| glance.keep(self));
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an artifact with this content lies.
    pub fn object(&self, content: &Digest) -> PathBuf {
        let (head, tail) = content.as_str().split_at(2);
        self.root.join(format!("objects/{head}/{tail}"))
    }

    /// The folder of an instance that is not finished.
    pub fn work(&self, key: &Digest) -> PathBuf {
        self.root.join("work").join(key.as_str())
    }

    pub fn log(&self, key: &Digest) -> PathBuf {
        self.root.join("logs").join(format!("{key}.log"))
    }

    /// Where is noted what is to be sent to a shared cache, by the keys.
    pub fn unsent(&self, location: &str) -> PathBuf {
        let name = blake3::hash(location.as_bytes()).to_hex();
        self.root.join("unsent").join(&name[..16])
    }

    pub(super) fn result(&self, key: &Digest) -> PathBuf {
        self.root.join("results").join(format!("{key}.json"))
    }

    /// What the store has for a key; reads every byte of the outputs, unless a glance tells that they have not changed.
    pub fn lookup(&self, key: &Digest) -> Lookup {
        if let Some(outputs) = self.glance.as_ref().and_then(|glance| glance.hit(self, key)) {
            return Lookup::Hit(outputs);
        }
        let mut reading = self.glance.as_ref().map(|glance| glance.reading(self, key));
        let record = match read_record(&self.result(key)) {
            Ok(record) => record,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Lookup::Absent,
            Err(e) => return Lookup::Damaged(format!("its record cannot be read: {e}")),
        };
        if record.key.digest() != *key {
            return Lookup::Damaged("its record is of another key".into());
        }
        for (name, stored) in &record.outputs {
            reading.iter_mut().for_each(|reading| reading.output(name, stored));
            match content_of(&self.object(&stored.content)) {
                Ok(found) if found.digest == stored.content => {}
                Ok(_) => return Lookup::Damaged(format!("its output `{name}` has changed on disk")),
                Err(e) => return Lookup::Damaged(format!("its output `{name}` cannot be read: {e}")),
            }
        }
        reading.into_iter().for_each(|reading| reading.sound());
        Lookup::Hit(record.outputs)
    }

    /// Where an artifact lies, after every byte of it was read.
    ///
    /// # Errors
    /// If it cannot be read, or has changed.
    pub fn sound_object(&self, content: &Digest) -> io::Result<PathBuf> {
        let path = self.object(content);
        if content_of(&path)?.digest == *content {
            return Ok(path);
        }
        let message = format!("`{}` has changed on disk", path.display());
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }

    /// The record of a key, if there is one that can be read. Outputs are not verified.
    pub fn record_of(&self, key: &Digest) -> Option<Record> {
        read_record(&self.result(key)).ok().filter(|record| record.key.digest() == *key)
    }

    /// The records of all results that can be read, with their keys, in no order. Outputs are not verified.
    pub fn records(&self) -> Vec<(Digest, Record)> {
        let keys = self.keys().unwrap_or_default();
        keys.into_iter()
            .filter_map(|key| {
                let record = read_record(&self.result(&key)).ok()?;
                Some((key, record))
            })
            .collect()
    }

    /// The lock of a key, or `None` while another run holds it.
    pub fn try_lock(&self, key: &Digest) -> Result<Option<Lock>> {
        let path = self.root.join("locks").join(key.as_str());
        let file = self.create(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock::of(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(e)) => Err(Error::io(format!("cannot lock `{}`", path.display()))(e)),
        }
    }

    /// Makes a file and the folders above it.
    pub(super) fn create(&self, path: &Path) -> Result<File> {
        let fail = |e| {
            Error::io(format!("cannot write in the cache `{}`", self.root.display()))(e)
                .hint("name another folder with `--cache DIR`, or make room in this one")
        };
        fs::create_dir_all(path.parent().unwrap_or(&self.root)).map_err(fail)?;
        File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(fail)
    }

    /// Takes a finished artifact in and gives its address. `path` is used up.
    pub fn take_in(&self, path: &Path) -> io::Result<Stored> {
        let content = content_of(path)?;
        let stored = Stored { content: content.digest, bytes: content.bytes };
        let target = self.object(&stored.content);
        let is_there = || content_of(&target).is_ok_and(|found| found.digest == stored.content);
        if is_there() {
            remove(path)?;
            return Ok(stored);
        }
        settle(path)?;
        let folder = target.parent().unwrap_or(&self.root);
        self.make(folder)?;
        loop {
            if target.exists() {
                // Another run was faster with the same content.
                if is_there() {
                    remove(path)?;
                    break;
                }
                match self.set_aside(&target) {
                    // Another has found it damaged, too.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
            step();
            match fs::rename(path, &target) {
                Ok(()) => break,
                Err(_) if target.exists() => {}
                Err(e) => return Err(e),
            }
        }
        sync_folder(folder)?;
        Ok(stored)
    }

    /// Records a result whose outputs are all in.
    pub fn record(&self, key: &Digest, record: &Record) -> io::Result<()> {
        let path = self.result(key);
        let folder = path.parent().unwrap_or(&self.root);
        self.make(folder)?;
        step();
        let mut draft = draft_in(folder)?;
        step();
        draft.write_all(&seal::close(serde_json::to_vec_pretty(record)?))?;
        step();
        draft.as_file().sync_all()?;
        step();
        self.clear(&path, fs::Metadata::is_file)?;
        draft.persist(&path).map_err(|e| e.error)?;
        sync_folder(folder)
    }

    /// Makes a folder and sees that its name is on the disk before anything that needs it.
    fn make(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        self.clear(folder, fs::Metadata::is_dir)?;
        step();
        fs::create_dir_all(folder)?;
        folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)).try_for_each(sync_folder)
    }

    /// Sets aside what stands where something else is to be.
    fn clear(&self, path: &Path, is_meant: fn(&fs::Metadata) -> bool) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Ok(meta) if !is_meant(&meta) => self.set_aside(path),
            _ => Ok(()),
        }
    }

    /// Moves something damaged out of the way, so that it can be looked at.
    pub fn set_aside(&self, path: &Path) -> io::Result<()> {
        let folder = self.root.join("damaged");
        step();
        fs::create_dir_all(&folder)?;
        step();
        let place = tempfile::tempdir_in(folder)?.keep();
        step();
        fs::rename(path, place.join(path.file_name().unwrap_or_default()))
    }
}

pub(super) fn read_record(path: &Path) -> io::Result<Record> {
    seal::open(&files::read(path, LARGEST_RECORD)?)
}

/// Makes an artifact read-only and sees that it is on the disk before its name is.
fn settle(path: &Path) -> io::Result<()> {
    let (folders, files): (Vec<_>, Vec<_>) = walk(path)?.into_iter().partition(|entry| entry.is_folder);
    for file in files {
        let opened = File::open(&file.path)?;
        let mut permissions = opened.metadata()?.permissions();
        permissions.set_readonly(true);
        step();
        opened.set_permissions(permissions)?;
        step();
        opened.sync_all()?;
    }
    folders.iter().try_for_each(|folder| sync_folder(&folder.path))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    step();
    File::open(path)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    step();
    files::delete(path)
}

#[cfg(test)]
mod tests;
