//! What parent and child process say to each other.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stages::contract::{Artifact, Progress};

use crate::key::Digest;

/// All that a process needs to run one instance: a file that the parent writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub instance: String,
    pub kind: String,
    /// Of the key: checkpoints are of one key.
    pub key: Digest,
    /// The code that the key was computed for: a program that was rebuilt meanwhile must not run it.
    pub code: String,
    pub params: Value,
    pub seed: u64,
    pub inputs: BTreeMap<String, Vec<Artifact>>,
    pub outputs: PathBuf,
    pub checkpoints: PathBuf,
    /// Held by the process while it works in the folders: a process whose parent was killed may still live.
    pub lock: PathBuf,
    pub threads: usize,
}

impl Manifest {
    /// # Errors
    /// If the file cannot be read or is no manifest.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }
}

/// A line on the child's standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    Progress(Progress),
    /// The stage gave up, with its causes from the outermost to the innermost.
    Failed {
        message: String,
        causes: Vec<String>,
        hint: Option<String>,
        /// For want of room on a disk.
        #[serde(default)]
        full: bool,
    },
    Done,
}

/// No line of a child's reports is longer, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

impl Report {
    /// Reads a child's reports until its output ends; gives its last word.
    pub fn last(mut out: impl BufRead, mut progress: impl FnMut(Progress)) -> Option<Self> {
        let (mut last, mut begins) = (None, true);
        loop {
            let mut line = vec![];
            if (&mut out).take(LONGEST_LINE).read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                return last;
            }
            // The rest of a line that is too long is no line.
            let is_rest = !std::mem::replace(&mut begins, line.ends_with(b"\n"));
            match serde_json::from_slice(&line) {
                Ok(Self::Progress(p)) if !is_rest => progress(p),
                Ok(report) if !is_rest => last = Some(report),
                // Something that a library printed.
                _ => tracing::debug!(line = %String::from_utf8_lossy(&line).trim_end(), "stray output"),
            }
        }
    }
}
