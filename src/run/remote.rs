//! A shared cache during a run: results are looked for there first, and sent there when they are made. It is a help and no
//! condition: where it fails, the run goes on without it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use stages::contract::Progress;

use super::{
    execute::{Handle, Job},
    resolve::declares,
};
use crate::{
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
}

impl Shared {
    pub fn new(remote: Remote, read_only: bool) -> Self {
        let no = AtomicBool::default;
        Self { remote, read_only, gives_nothing: no(), takes_nothing: no() }
    }

    /// The result of a job, brought into the store; none where it must be made.
    pub(super) fn fetch(
        &self,
        job: &Job,
        store: &Store,
        handle: &Handle,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Option<Record> {
        if self.gives_nothing.load(Ordering::Relaxed) {
            return None;
        }
        let (total, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let is_wanted = |record: &Record| {
            let bytes = record.outputs.values().map(|stored| stored.bytes);
            total.store(bytes.fold(0, u64::saturating_add), Ordering::Relaxed);
            declares(job.outputs, record)
        };
        let moved = |bytes| {
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let total = total.load(Ordering::Relaxed);
            progress(Progress { done, total, unit: "bytes".into(), figures: Default::default() });
        };
        let course = Course { stop: &|| handle.is_killed(), moved: &moved };
        let fetched = self.remote.fetch(&job.key.digest(), store, &is_wanted, course);
        fetched.unwrap_or_else(|trouble| {
            self.note(&job.instance, &trouble, &self.gives_nothing, "fetch nothing");
            None
        })
    }

    /// Sends the result of a job that has been done.
    pub(super) fn push(&self, job: &Job, store: &Store, handle: &Handle) {
        if self.read_only || self.takes_nothing.load(Ordering::Relaxed) {
            return;
        }
        let course = Course { stop: &|| handle.is_killed(), moved: &|_| {} };
        if let Err(trouble) = self.remote.push(&job.key.digest(), store, course) {
            self.note(&job.instance, &trouble, &self.takes_nothing, "send nothing");
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
