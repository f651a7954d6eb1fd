//! What a running stage may see of the world.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Artifact;

/// How far a stage is: sent to whoever watches, never part of a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done, of `total`.
    pub done: u64,
    pub total: u64,
    /// What a unit is: `steps`, `prompts`.
    pub unit: String,
    /// A few current figures to show, such as `loss`.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
}

/// The inputs, the output folder, the seeds and the ear of whoever watches.
pub struct Context {
    /// Artifacts by input name, in the order of their references and then of their coordinates.
    pub inputs: BTreeMap<String, Vec<Artifact>>,
    /// The folder that takes the outputs; each declared output is the file or folder of its name in here.
    pub outputs: PathBuf,
    /// A folder that outlives a killed attempt: checkpoints.
    pub checkpoints: PathBuf,
    /// What the checkpoints are of: those of another key are not taken.
    pub key: String,
    /// How long a stage goes on at most without a checkpoint, where it makes some.
    pub checkpoint_every: Duration,
    /// The instance's seed, derived from its name.
    pub seed: u64,
    /// Where progress goes.
    pub watcher: Box<dyn Fn(Progress) + Send + Sync>,
}

impl Context {
    /// The artifact of an input that takes exactly one.
    ///
    /// # Panics
    /// If the stage did not declare the input as [`super::Arity::One`]: the engine checks that before it runs.
    pub fn input(&self, name: &str) -> &Path {
        self.optional(name).unwrap_or_else(|| panic!("input `{name}` is not declared as one artifact"))
    }

    /// The artifact of an input that may be left out.
    pub fn optional(&self, name: &str) -> Option<&Path> {
        self.many(name).first().map(|a| a.path.as_path())
    }

    /// All artifacts of an input.
    pub fn many(&self, name: &str) -> &[Artifact] {
        self.inputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Where the declared output `name` must be written.
    pub fn output(&self, name: &str) -> PathBuf {
        self.outputs.join(name)
    }

    /// A seed for one purpose (`"shuffle"`), so that purposes do not share random numbers.
    pub fn seed(&self, purpose: &str) -> u64 {
        derive_seed(self.seed, purpose)
    }

    /// Tells the watcher that `done` of `total` units are done. A figure that is not finite has no place in JSON: left out.
    pub fn progress(&self, done: usize, total: usize, unit: &str, figures: &[(&str, f32)]) {
        (self.watcher)(Progress {
            done: done as u64,
            total: total as u64,
            unit: unit.into(),
            figures: figures
                .iter()
                .filter(|(_, value)| value.is_finite())
                .map(|(name, value)| (name.to_string(), f64::from(*value)))
                .collect(),
        });
    }
}

/// FNV-1a over the seed and the purpose, finished by SplitMix64's mixer: stable for ever, and enough for
/// seeds that only have to differ.
pub fn derive_seed(seed: u64, purpose: &str) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for b in seed.to_le_bytes().iter().chain(purpose.as_bytes()) {
        h = (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}
