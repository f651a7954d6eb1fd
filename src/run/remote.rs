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
    /// It does not answer: it is not asked again.
    is_lost: AtomicBool,
}

impl Shared {
    pub fn new(remote: Remote, read_only: bool) -> Self {
        Self { remote, read_only, is_lost: AtomicBool::new(false) }
    }

    /// The result of a job, brought into the store; none where it must be made.
    pub(super) fn fetch(
        &self,
        job: &Job,
        store: &Store,
        handle: &Handle,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Option<Record> {
        if self.is_lost.load(Ordering::Relaxed) {
            return None;
        }
        let key = job.key.digest();
        let fetched = self.remote.record_of(&key).and_then(|record| match record {
            Some(record) if declares(job.outputs, &record) => {
                let total = record.outputs.values().map(|stored| stored.bytes).fold(0, u64::saturating_add);
                let done = AtomicU64::new(0);
                let moved = |bytes| {
                    let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                    progress(Progress { done, total, unit: "bytes".into(), figures: Default::default() });
                };
                self.remote.fetch(&key, store, Course { stop: &|| handle.is_killed(), moved: &moved })
            }
            _ => Ok(None),
        });
        fetched.unwrap_or_else(|trouble| {
            self.note(&job.instance, &trouble);
            None
        })
    }

    /// Sends the result of a job that has been done.
    pub(super) fn push(&self, job: &Job, store: &Store, handle: &Handle) {
        if self.read_only || self.is_lost.load(Ordering::Relaxed) {
            return;
        }
        let course = Course { stop: &|| handle.is_killed(), moved: &|_| {} };
        if let Err(trouble) = self.remote.push(&job.key.digest(), store, course) {
            self.note(&job.instance, &trouble);
        }
    }

    fn note(&self, instance: &str, trouble: &Trouble) {
        match trouble {
            Trouble::Stopped => {}
            Trouble::Unreachable(_) => {
                if !self.is_lost.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{trouble}; the run goes on without it");
                }
            }
            Trouble::Damaged(_) | Trouble::Disk(_) => tracing::warn!(instance, "{trouble}"),
        }
    }
}
