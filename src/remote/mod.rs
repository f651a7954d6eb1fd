//! A cache that several machines share: any location that `object_store` speaks to.
//!
//! ```text
//! results/<key>.json       what a key produced, as a store has it; written when all that it names is there
//! objects/ab/cdef….json    what the artifact with this address consists of: names and contents of its files
//! blobs/ab/cdef…           the bytes of one file, by their blake3; files that artifacts share lie there once
//! pieces/ab/cdef…/0        those of a large one, in pieces
//! runs/<id>.json           the records of runs
//! ```
//!
//! Everything is named by what it holds, so machines that write at once write the same. Nothing that arrives is
//! believed: a record's key, an artifact's parts and every blob are hashed before a local store takes them in. That finds
//! damage and not malice: who can write there can record any result for a key, so it is for those who trust each other.
//! What was fetched or sent in part goes on from there.

mod blobs;
mod location;

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::Path as File,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    future::{Either, select},
    stream::{self, StreamExt, TryStreamExt},
};
use object_store::{DynObjectStore, ObjectStoreExt, PutMode, path::Path};
use tokio::runtime::Runtime;

use crate::{
    history::is_id,
    key::Digest,
    seal,
    store::{LARGEST_RECORD, Listing, Record, Store},
};

/// A shared cache.
pub struct Remote {
    store: Box<DynObjectStore>,
    /// Where in the store the cache begins.
    prefix: Path,
    /// As it was named, without secrets.
    name: String,
    /// See [`Remote::place`].
    place: String,
    runtime: Runtime,
    /// Blobs that were found to hold something else, and the keys that lead to them: this process writes them again.
    suspects: Mutex<BTreeSet<Digest>>,
}

/// Why something could not be fetched or sent.
#[derive(Debug)]
pub enum Trouble {
    /// The location does not answer, or refuses: more of the same is to be expected.
    Unreachable(String),
    /// What lies there is not what its name says.
    Damaged(String),
    /// This machine's disk.
    Disk(io::Error),
    /// It was asked to stop.
    Stopped,
}

type Result<T> = std::result::Result<T, Trouble>;

/// What a transfer is asked and told while it lasts.
#[derive(Clone, Copy)]
pub struct Course<'a> {
    /// Whether it shall end at once.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Hears of bytes that were transferred.
    pub moved: &'a (dyn Fn(u64) + Sync),
}

/// Files that are transferred at once.
const AT_ONCE: usize = 8;
/// A run's record is no larger, in bytes; nor are the names of an artifact's files.
const LARGEST_RUN: u64 = 1 << 28;

impl Remote {
    /// The result of a key, if there is one. Nothing is transferred but its record.
    pub fn record_of(&self, key: &Digest, stop: &dyn Fn() -> bool) -> Result<Option<Record>> {
        self.wait(stop, self.record(key))
    }

    /// What tells it from others, not to be shown: its location and server; of a folder the whole path.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Brings the result of a key into a store, if its record is what the caller wants. The caller holds the key's lock.
    pub fn fetch(
        &self,
        key: &Digest,
        into: &Store,
        is_wanted: &dyn Fn(&Record) -> bool,
        course: Course<'_>,
    ) -> Result<Option<Record>> {
        let fetched = self.wait(course.stop, async {
            let Some(record) = self.record(key).await?.filter(is_wanted) else { return Ok(None) };
            let folder = into.work(key).join("fetched");
            for stored in record.outputs.values() {
                if crate::store::content_of(&into.object(&stored.content))
                    .is_ok_and(|c| c.digest == stored.content)
                {
                    continue;
                }
                let parts = self.parts(&stored.content).await?;
                if parts.content().bytes != stored.bytes {
                    return Err(self.damaged(format!("the size of the artifact {}", stored.content.short())));
                }
                let place = self.artifact(&parts, &folder, course).await?;
                let taken = into.take_in(&place)?;
                if taken.content != stored.content {
                    return Err(self.damaged(format!("the artifact {}", stored.content.short())));
                }
            }
            into.record(key, &record)?;
            let _ = fs::remove_dir_all(&folder);
            let _ = fs::remove_dir(into.work(key)); // unless there is a checkpoint in it
            Ok(Some(record))
        });
        if let Err(Trouble::Damaged(_)) = fetched {
            self.suspect(key);
        }
        fetched
    }

    /// Sends the result of a key, unless it is there.
    pub fn push(&self, key: &Digest, from: &Store, course: Course<'_>) -> Result<()> {
        let gone = || io::Error::other(format!("the result {} cannot be read", key.short()));
        let record = from.record_of(key).ok_or_else(gone)?;
        self.wait(course.stop, async {
            for (name, stored) in &record.outputs {
                let path = from.object(&stored.content);
                let parts = Listing::of(&path)?;
                if parts.content().digest != stored.content {
                    from.distrust_stamps();
                    let message = format!("the output `{name}` of the result {} is damaged", key.short());
                    return Err(Trouble::Disk(io::Error::other(message)));
                }
                let blobs = match &parts {
                    Listing::File(content) => vec![(content, path)],
                    Listing::Folder(files) => {
                        files.iter().map(|(name, content)| (content, path.join(name))).collect()
                    }
                };
                stream::iter(blobs)
                    .map(|(content, path)| async move { self.send(content, &path, course).await })
                    .buffer_unordered(AT_ONCE)
                    .try_collect::<()>()
                    .await?;
                let listing = serde_json::to_vec_pretty(&parts).map_err(io::Error::from)?;
                self.write(&object(&stored.content), listing).await?;
            }
            // Last, and never over one that is sound: what others have taken in stays true.
            let bytes = seal::close(serde_json::to_vec_pretty(&record).map_err(io::Error::from)?);
            match self.record(key).await {
                Ok(Some(there)) if there.outputs == record.outputs || !self.is_suspect(key) => Ok(()),
                Ok(Some(_)) | Err(Trouble::Damaged(_)) => self.write(&result(key), bytes).await,
                Ok(None) => self.create(&result(key), bytes).await,
                Err(e) => Err(e),
            }
        })
    }

    /// The ids of the runs, the newest first.
    pub fn runs(&self) -> Result<Vec<String>> {
        self.wait(&|| false, async {
            let all = self.store.list(Some(&self.path("runs")));
            let found: Vec<_> = all.try_collect().await.map_err(|e| self.unreachable(&e))?;
            let id = |meta: &object_store::ObjectMeta| {
                let id = meta.location.filename()?.strip_suffix(".json")?;
                (is_id(id) && self.path(&format!("runs/{id}.json")) == meta.location).then(|| id.to_string())
            };
            let mut ids: Vec<String> = found.iter().filter_map(id).collect();
            ids.sort_by(|a, b| b.cmp(a));
            Ok(ids)
        })
    }

    /// A run's record as it lies there.
    pub fn run(&self, id: &str) -> Result<Vec<u8>> {
        let bytes = self.wait(&|| false, self.read(&format!("runs/{id}.json"), LARGEST_RUN))?;
        bytes.ok_or_else(|| self.damaged(format!("the record of run {id}")))
    }

    pub fn push_run(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.wait(&|| false, self.write(&format!("runs/{name}"), bytes))
    }

    async fn record(&self, key: &Digest) -> Result<Option<Record>> {
        let Some(bytes) = self.read(&result(key), LARGEST_RECORD).await? else { return Ok(None) };
        match seal::open::<Record>(&bytes) {
            Ok(record) if record.key.digest() == *key => Ok(Some(record)),
            _ => Err(self.damaged(format!("the result {}", key.short()))),
        }
    }

    /// What an artifact consists of; its address says whether that is true.
    async fn parts(&self, address: &Digest) -> Result<Listing> {
        let damaged = || self.damaged(format!("the list of files of the artifact {}", address.short()));
        let bytes = self.read(&object(address), LARGEST_RUN).await?.ok_or_else(damaged)?;
        let parts: Listing = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if parts.content().digest == *address { Ok(parts) } else { Err(damaged()) }
    }

    /// Fetches an artifact into a folder. Files that are there, from an attempt before, are not fetched again.
    async fn artifact(
        &self,
        parts: &Listing,
        folder: &File,
        course: Course<'_>,
    ) -> Result<std::path::PathBuf> {
        let place = folder.join(parts.content().digest.as_str());
        let files = match parts {
            Listing::File(content) => vec![(content, place.clone())],
            Listing::Folder(files) => {
                if let Some(name) = files.keys().find(|name| !is_inside(name)) {
                    return Err(self.damaged(format!("the file name {name:?}")));
                }
                fs::create_dir_all(&place)?;
                files.iter().map(|(name, content)| (content, place.join(name))).collect()
            }
        };
        stream::iter(files)
            .map(|(content, path)| async move { self.receive(content, &path, course).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(place)
    }

    /// A small file, whole; none where there is none.
    async fn read(&self, place: &str, largest: u64) -> Result<Option<Vec<u8>>> {
        let found = match self.store.get(&self.path(place)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|e| self.unreachable(&e))?,
        };
        if found.meta.size > largest {
            return Err(self.damaged(format!("`{place}`, which is too large")));
        }
        Ok(Some(found.bytes().await.map_err(|e| self.unreachable(&e))?.into()))
    }

    async fn write(&self, place: &str, bytes: Vec<u8>) -> Result<()> {
        self.store.put(&self.path(place), bytes.into()).await.map_err(|e| self.unreachable(&e)).map(drop)
    }

    /// Writes what another machine has not written before: of two at the same moment, one wins.
    async fn create(&self, place: &str, bytes: Vec<u8>) -> Result<()> {
        use object_store::Error;
        match self.store.put_opts(&self.path(place), bytes.clone().into(), PutMode::Create.into()).await {
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
            // Some services cannot tell.
            Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => self.write(place, bytes).await,
            Err(e) => Err(self.unreachable(&e)),
        }
    }

    fn path(&self, place: &str) -> Path {
        place.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn is_suspect(&self, what: &Digest) -> bool {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).contains(what)
    }

    fn suspect(&self, what: &Digest) {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).insert(what.clone());
    }

    fn damaged(&self, what: String) -> Trouble {
        Trouble::Damaged(format!("in the shared cache `{}` {what} is missing or damaged", self.name))
    }

    fn unreachable(&self, e: &object_store::Error) -> Trouble {
        let why = location::plain(&e.to_string());
        Trouble::Unreachable(format!("the shared cache `{}` cannot be used: {why}", self.name))
    }

    /// Waits for some work, unless it is to stop before.
    fn wait<T>(&self, stop: &dyn Fn() -> bool, work: impl Future<Output = Result<T>>) -> Result<T> {
        const PAUSE: Duration = Duration::from_millis(100);
        self.runtime.block_on(async {
            let stopped = async {
                while !stop() {
                    tokio::time::sleep(PAUSE).await;
                }
            };
            match select(pin!(work), pin!(stopped)).await {
                Either::Left((done, _)) => done,
                Either::Right(_) => Err(Trouble::Stopped),
            }
        })
    }
}

fn result(key: &Digest) -> String {
    format!("results/{key}.json")
}

fn object(address: &Digest) -> String {
    let (head, tail) = address.as_str().split_at(2);
    format!("objects/{head}/{tail}.json")
}

/// Whether a name of a file in a folder stays in that folder.
fn is_inside(name: &str) -> bool {
    let mut parts = name.split('/');
    !name.contains('\0') && parts.all(|part| !["", ".", ".."].contains(&part))
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Self::Disk(e)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(message) | Self::Damaged(message) => f.write_str(message),
            Self::Disk(e) => write!(f, "this machine's cache cannot be used: {e}"),
            Self::Stopped => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Trouble {}

/// What `Debug` says of a shared cache must not say with which credentials it is asked.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::is_inside;

    #[test]
    fn no_file_of_an_artifact_leaves_its_folder() {
        for name in ["model.safetensors", "a/b/c", "a b", ".hidden"] {
            assert!(is_inside(name), "{name}");
        }
        for name in ["", "..", "a/../../b", "/etc/passwd", "./a", "a//b", "a/./b", "a/", "a\0b"] {
            assert!(!is_inside(name), "{name}");
        }
    }
}
