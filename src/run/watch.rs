//! What happens during a run, for whoever shows it.

use std::time::Duration;

use stages::contract::Progress;

use super::outcome::Summary;

/// News of one instance.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    Started {
        threads: usize,
    },
    Progress(&'a Progress),
    /// The store had the result.
    Cached,
    /// The shared cache had it.
    Fetched,
    /// The shared cache seemed to have it; it must be made.
    NotFetched,
    Finished {
        elapsed: Duration,
    },
    /// Another run works on the same key; this one waits for its result.
    Waits,
    /// It has failed and is tried again.
    Retried {
        message: &'a str,
    },
    Failed {
        message: &'a str,
    },
    /// Something that it needs has failed.
    Skipped,
}

/// How far a run is: numbers of instances. Those that neither ended nor are named here wait.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overall {
    pub summary: Summary,
    pub running: usize,
    /// Are brought from the shared cache.
    pub fetching: usize,
    /// Are made, and to be sent there.
    pub sending: usize,
}

/// Sees every event of a run, from one thread.
pub trait Watcher {
    fn event(&self, instance: &str, event: Event<'_>);

    /// Called whenever something may have changed.
    fn overall(&self, overall: Overall);
}
