//! What happens during a run, for whoever shows it.

use std::time::Duration;

use stages::contract::Progress;

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

/// How far a run is: numbers of instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overall {
    pub total: usize,
    pub ran: usize,
    pub cached: usize,
    pub failed: usize,
    pub skipped: usize,
    pub running: usize,
    /// Could run, if there were room; others wait for their producers.
    pub ready: usize,
    /// Are brought from the shared cache.
    pub fetching: usize,
    /// Are sent there.
    pub sending: usize,
}

impl Overall {
    /// Those that have come to an end.
    pub fn done(&self) -> usize {
        self.ran + self.cached + self.failed + self.skipped
    }
}

/// Sees every event of a run, from one thread.
pub trait Watcher {
    fn event(&self, instance: &str, event: Event<'_>);

    /// Called whenever something may have changed.
    fn overall(&self, overall: Overall);
}
