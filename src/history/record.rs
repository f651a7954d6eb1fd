//! The record of a run.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    key::Digest,
    run::{Outcome, Summary},
};

/// Changes whenever an older program could misread a record.
pub const FORMAT: u32 = 1;

/// `runs/<id>.json`. Written once, when the run has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`].
    pub format: u32,
    /// When the run began, or just after the newest run where the clock has gone back, and eight digits that tell it
    /// from another of the same moment: `20261128T005745123Z-1c9f2a07`.
    pub id: String,
    pub experiment: String,
    /// The experiment file, as it was named.
    pub file: String,
    pub profile: Option<String>,
    pub set: Vec<String>,
    pub only: Vec<String>,
    /// The experiment with its profile and overrides merged.
    pub resolved: Value,
    /// Seconds since 1970.
    pub started: u64,
    pub seconds: f64,
    pub host: Host,
    /// None where the experiment file is in no repository.
    pub git: Option<Git>,
    pub interrupted: bool,
    /// In the order of the graph, producers first.
    pub instances: Vec<Outcome>,
}

/// Where it ran, and by what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    pub name: String,
    /// Operating system and processor: `linux x86_64`.
    pub platform: String,
    pub processors: usize,
    /// The program's version.
    pub pipeline: String,
    /// What compiled it.
    #[serde(default)]
    pub compiler: String,
}

/// The commit that was checked out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    pub commit: String,
    /// Whether a tracked file differed from it.
    pub dirty: bool,
}

impl Run {
    /// What became of an instance in this run.
    pub fn instance(&self, name: &str) -> Option<&Outcome> {
        self.instances.iter().find(|outcome| outcome.instance == name)
    }

    /// The keys of all its results.
    ///
    /// # Errors
    /// If it was not finished.
    pub fn keys(&self) -> Result<BTreeSet<Digest>> {
        let key = |outcome: &Outcome| {
            outcome.result().cloned().ok_or_else(|| {
                let message = format!("the run `{}` has no result of `{}`", self.id, outcome.instance);
                Error::experiment(message).hint("name a run that was finished: `pipeline runs` lists them")
            })
        };
        self.instances.iter().map(key).collect()
    }

    /// Whether it has a result of every instance.
    pub fn is_finished(&self) -> bool {
        self.instances.iter().all(|outcome| outcome.result().is_some())
    }

    /// Its counts, as a summary says them.
    pub fn summary(&self) -> Summary {
        let mut summary =
            Summary { total: self.instances.len(), seconds: self.seconds, ..Summary::default() };
        summary.interrupted = self.interrupted;
        self.instances.iter().for_each(|outcome| summary.count(outcome.state));
        summary
    }
}
