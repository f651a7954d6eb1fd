//! What a reward model was trained for, and how it reads: `reward.json` in its folder.

use std::{fs, path::Path};

use lm::Head;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::contract::StageError;

/// What a reward model is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// A scalar at the last token, by the Bradley-Terry likelihood of the preferences.
    Binary,
    /// A scalar at each token, by the Bradley-Terry likelihood of their sums.
    Dense,
    /// A rewriting of the response into the preferred one, by the likelihood of its tokens.
    Sequence,
}

impl Objective {
    pub fn head(self) -> Head {
        match self {
            Self::Binary | Self::Dense => Head::Scalar,
            Self::Sequence => Head::Lm,
        }
    }
}

/// All that one has to know beside the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub objective: Objective,
    /// Of a sequence reward model; the others read prompt and response.
    #[serde(default)]
    pub layout: Layout,
}

const FILE: &str = "reward.json";

/// A recipe is a few words: a longer file is none.
const MOST_BYTES: u64 = 1 << 16;

impl Recipe {
    /// # Errors
    /// A file that is missing, too long or says something unknown.
    pub fn load(dir: &Path) -> Result<Self, StageError> {
        let path = dir.join(FILE);
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            StageError::because(format!("`{}` cannot be read as a recipe", path.display()), e)
                .hint("use a folder that stage kind `reward-model` has written")
        };
        let bytes = fs::metadata(&path).map_err(|e| failed(e.into()))?.len();
        if bytes > MOST_BYTES {
            return Err(failed(format!("it has {bytes} bytes, expected at most {MOST_BYTES}").into()));
        }
        let text = fs::read(&path).map_err(|e| failed(e.into()))?;
        serde_json::from_slice(&text).map_err(|e| failed(e.into()))
    }

    pub fn save(&self, dir: &Path) -> Result<(), StageError> {
        let failed = |e: std::io::Error| StageError::because(format!("`{FILE}` could not be written"), e);
        let text = serde_json::to_string_pretty(self).map_err(|e| failed(e.into()))?;
        fs::write(dir.join(FILE), text).map_err(failed)
    }
}
