//! What a key produced.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::key::{Digest, Key};

/// A finished result, as `results/<key>.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub key: Key,
    /// By output name.
    pub outputs: BTreeMap<String, Stored>,
    /// What does not enter the key.
    pub provenance: Provenance,
}

/// An artifact in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub content: Digest,
    pub bytes: u64,
}

/// When, how and by what a result was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The instance that made it.
    pub instance: String,
    /// Seconds since 1970.
    pub finished: u64,
    /// Wall time of the stage.
    pub seconds: f64,
    pub threads: usize,
    /// The program's version.
    pub pipeline: String,
}

impl Provenance {
    /// The stage of the instance that made it.
    pub fn stage(&self) -> &str {
        self.instance.split('[').next().unwrap_or_default()
    }
}
