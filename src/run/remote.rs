//! A shared cache during a run: results are looked for there first, and sent there when they are made. It is a help and no
//! condition: where it fails, the run goes on without it.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use stages::contract::Progress;

use super::{
    execute::Handle,
    resolve::{contents, declares},
};
use crate::{
    graph::Instance,
    key::Digest,
    remote::{Course, Remote, Trouble},
    store::{Record, Store},
};

/// A shared cache, for as long as a run lasts.
#[derive(Debug)]
pub struct Shared {
    remote: Remote,
    /// Nothing is sent.
    read_only: bool,
    /// It gives nothing, or takes nothing: it is not asked for that again.
    gives_nothing: AtomicBool,
    takes_nothing: AtomicBool,
    /// Where it is noted what was made and not sent yet.
    owed: PathBuf,
}

/// The record that a shared cache has of an instance's key, with every output that its kind declares.
pub(super) fn lookup(
    remote: &Remote,
    instance: &Instance,
    key: &Digest,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Record>, Trouble> {
    let record = remote.record_of(key, stop)?;
    Ok(record.filter(|record| declares(instance.kind.outputs, &record.outputs)))
}

impl Shared {
    pub fn new(remote: Remote, read_only: bool, store: &Store) -> Self {
        let no = AtomicBool::default;
        let owed = store.unsent(remote.place());
        Self { remote, read_only, gives_nothing: no(), takes_nothing: no(), owed }
    }

    /// Notes that a result is to be sent: a run that ends before leaves it to the next. Where it cannot be noted
    /// nothing is lost but that.
    pub(super) fn owe(&self, key: &Digest) {
        if !self.read_only {
            let write = fs::create_dir_all(&self.owed).and_then(|()| fs::File::create(self.note_of(key)));
            drop(write.inspect_err(|e| tracing::debug!(error = %e, "what is to be sent cannot be noted")));
        }
    }

    /// Notes that it was sent, or that there is none.
    pub(super) fn owe_no_more(&self, key: &Digest) {
        let _ = fs::remove_file(self.note_of(key));
    }

    /// Whether an earlier run has made a result and not sent it.
    pub(super) fn is_owed(&self, key: &Digest) -> bool {
        self.takes() && self.note_of(key).exists()
    }

    fn note_of(&self, key: &Digest) -> PathBuf {
        self.owed.join(key.as_str())
    }

    /// Whether it is worth asking.
    pub(super) fn gives(&self) -> bool {
        !self.gives_nothing.load(Ordering::Relaxed)
    }

    /// Whether something can be sent.
    pub(super) fn takes(&self) -> bool {
        !self.read_only && !self.takes_nothing.load(Ordering::Relaxed)
    }

    /// Whether it says that it has the result of a key.
    pub(super) fn has(&self, instance: &Instance, key: &Digest, handle: &Handle) -> bool {
        match lookup(&self.remote, instance, key, &|| handle.is_killed()) {
            Ok(record) => record.is_some(),
            Err(trouble) => {
                self.note(&instance.name, &trouble, &self.gives_nothing, "fetch nothing");
                false
            }
        }
    }

    /// The contents of the outputs that an instance has under a key, brought into the store; none where they must be made. The
    /// caller holds the key's lock.
    pub(super) fn fetch(
        &self,
        instance: &Instance,
        key: &Digest,
        store: &Store,
        handle: &Handle,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Option<BTreeMap<String, Digest>> {
        let (total, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let is_wanted = |record: &Record| {
            let bytes = record.outputs.values().map(|stored| stored.bytes);
            total.store(bytes.fold(0, u64::saturating_add), Ordering::Relaxed);
            declares(instance.kind.outputs, &record.outputs)
        };
        let moved = |bytes| {
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let total = total.load(Ordering::Relaxed);
            progress(Progress { done, total, unit: "bytes".into(), figures: Default::default() });
        };
        let course = Course { stop: &|| handle.is_killed(), moved: &moved };
        match self.remote.fetch(key, store, &is_wanted, course) {
            Ok(record) => record.map(|record| contents(record.outputs)),
            Err(trouble) => {
                self.note(&instance.name, &trouble, &self.gives_nothing, "fetch nothing");
                None
            }
        }
    }

    /// Sends a result.
    pub(super) fn push(&self, instance: &Instance, key: &Digest, store: &Store, handle: &Handle) {
        let course = Course { stop: &|| handle.is_killed(), moved: &|_| {} };
        match self.remote.push(key, store, course) {
            Ok(()) => self.owe_no_more(key),
            Err(trouble) => self.note(&instance.name, &trouble, &self.takes_nothing, "send nothing"),
        }
    }

    fn note(&self, instance: &str, trouble: &Trouble, given_up: &AtomicBool, what: &str) {
        match trouble {
            Trouble::Stopped => {}
            Trouble::Unreachable(_) => {
                if !given_up.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{trouble}; the run goes on and will {what} more");
                }
            }
            Trouble::Damaged(_) | Trouble::Disk(_) => tracing::warn!(instance, "{trouble}"),
        }
    }
}
