//! Runs stages through the contract, as the engine does.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod report;

use std::{collections::BTreeMap, path::PathBuf, sync::Mutex};

use serde_json::Value;
use stages::contract::{Artifact, Context, Coordinates, Progress, StageError};

/// A folder in which stages run one after the other.
pub struct Workshop {
    pub folder: tempfile::TempDir,
}

/// An input: its name and the artifacts in it.
pub type Given<'a> = (&'a str, Vec<PathBuf>);

/// An input whose artifacts were gathered over axes.
pub type Gathered<'a> = (&'a str, Vec<Artifact>);

impl Workshop {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Runs a stage kind under a name and gives the folder with its outputs.
    pub fn run(&self, name: &str, kind: &str, params: Value, inputs: &[Given]) -> PathBuf {
        self.try_run(name, kind, params, inputs).unwrap_or_else(|e| panic!("{name}: {e} ({:?})", e.source))
    }

    /// Like `run`, for stages that may fail. A second run under the same name finds the first one's checkpoints.
    pub fn try_run(
        &self,
        name: &str,
        kind: &str,
        params: Value,
        inputs: &[Given],
    ) -> Result<PathBuf, StageError> {
        self.try_gather(name, kind, params, &plain(inputs))
    }

    /// Like `try_run`, with artifacts that stand somewhere on the experiment's axes.
    pub fn try_gather(
        &self,
        name: &str,
        kind: &str,
        params: Value,
        inputs: &[Gathered],
    ) -> Result<PathBuf, StageError> {
        let registry = stages::registry();
        let kind = registry.get(kind).expect("a known kind");
        let params = (kind.canonical)(params).map_err(|e| StageError {
            hint: e.hint,
            ..StageError::new(format!("{}: {}", e.path, e.message))
        })?;
        let ctx = self.context(name, inputs, |_| {});
        (kind.run)(params, &ctx)?;
        for output in kind.outputs {
            assert!(ctx.output(output.name).exists(), "{name} has not written `{}`", output.name);
        }
        Ok(ctx.outputs)
    }

    /// Runs a stage until it has reported progress `n` times, then kills it as a panic would.
    pub fn run_and_kill(&self, name: &str, kind: &str, params: Value, inputs: &[Given], n: usize) {
        let registry = stages::registry();
        let kind = registry.get(kind).expect("a known kind");
        let params = (kind.canonical)(params).expect("sound parameters");
        let left = Mutex::new(n);
        let ctx = self.context(name, &plain(inputs), move |_| {
            let mut left = left.lock().expect("no other thread");
            *left -= 1;
            assert!(*left > 0, "killed by the test");
        });
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (kind.run)(params, &ctx)));
        assert!(killed.is_err(), "{name} ended before it could be killed");
    }

    fn context(
        &self,
        name: &str,
        inputs: &[Gathered],
        watcher: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Context {
        let folder = self.folder.path().join(name);
        let (outputs, checkpoints) = (folder.join("out"), folder.join("checkpoints"));
        for dir in [&outputs, &checkpoints] {
            std::fs::create_dir_all(dir).expect("a folder");
        }
        let inputs: BTreeMap<_, _> = inputs.iter().map(|(name, of)| (name.to_string(), of.clone())).collect();
        // After each step, or only where the stage makes one by itself.
        let often = name.ends_with("often");
        let checkpoint_every = std::time::Duration::from_secs(if often { 0 } else { 3600 });
        let key = "test".into();
        let watcher = Box::new(watcher);
        Context { inputs, outputs, checkpoints, key, checkpoint_every, seed: 7, watcher }
    }
}

fn plain<'a>(inputs: &[Given<'a>]) -> Vec<Gathered<'a>> {
    let artifact = |path: &PathBuf| Artifact { path: path.clone(), coordinates: Coordinates::new() };
    inputs.iter().map(|(name, paths)| (*name, paths.iter().map(artifact).collect())).collect()
}
