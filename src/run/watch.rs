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

/// Sees every event of a run, from one thread.
pub trait Watcher {
    fn event(&self, instance: &str, event: Event<'_>);

    /// Called now and then, with how many instances are done of how many.
    fn overall(&self, done: usize, total: usize);
}
