//! What became of the instances of a run.

use serde::{Deserialize, Serialize};

use crate::key::Digest;

/// How it ended for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    Ran,
    /// The store had its result, or another instance of the same key gave it.
    Cached,
    Failed,
    /// Something that it needs has failed.
    Skipped,
    /// The run ended before.
    Unfinished,
}

impl End {
    /// As it is serialized.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Unfinished => "unfinished",
        }
    }
}

/// What became of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub instance: String,
    pub state: End,
    /// None where it depends on what has not finished.
    pub key: Option<Digest>,
    /// Wall time of the stage; none where it did not run to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Why it had to run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Outcome {
    /// The key of its result, if it has one.
    pub fn result(&self) -> Option<&Digest> {
        self.key.as_ref().filter(|_| matches!(self.state, End::Ran | End::Cached))
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub total: usize,
    pub ran: usize,
    pub cached: usize,
    /// Of those cached: brought from a shared cache.
    pub fetched: usize,
    pub failed: usize,
    /// Not run, for something that they need has failed.
    pub skipped: usize,
    /// The run ended before they did: it was interrupted, or was to end at the first failure.
    pub unfinished: usize,
    pub seconds: f64,
    pub interrupted: bool,
}

impl Summary {
    pub fn count(&mut self, end: End) {
        match end {
            End::Ran => self.ran += 1,
            End::Cached => self.cached += 1,
            End::Failed => self.failed += 1,
            End::Skipped => self.skipped += 1,
            End::Unfinished => self.unfinished += 1,
        }
    }

    /// How many instances have come to an end.
    pub fn done(&self) -> usize {
        self.ran + self.cached + self.failed + self.skipped
    }
}
