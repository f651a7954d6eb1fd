//! Rewards: what PPO is told about a response, token by token.
//!
//! An artifact of type `reward` is a model's folder with one file more, `reward.json`: what the model was trained
//! for and how it reads ([`Recipe`]).

pub mod binary;
pub mod bradley_terry;
pub mod dense;
pub mod extraction;
pub mod layout;
mod recipe;
pub mod sequence;

use std::path::Path;

use lm::Model;

use crate::{contract::StageError, episode::Episode, text::Codec};
use extraction::Extraction;
pub use recipe::{Objective, Recipe};

/// Scores responses.
pub trait Reward {
    /// What it says of responses.
    fn read(&self, episodes: &[Episode]) -> Result<Reading, StageError>;

    /// One score for each token of each response.
    fn scores(&self, episodes: &[Episode]) -> Result<Vec<Vec<f32>>, StageError> {
        Ok(self.read(episodes)?.scores)
    }

    /// Whether the reward is one number at the last token, known only up to a constant: then PPO takes the
    /// mean over the reference policy's responses away.
    fn is_scalar(&self) -> bool;
}

/// What a reward says of responses.
pub struct Reading {
    /// One score for each token of each response.
    pub scores: Vec<Vec<f32>>,
    /// How many tokens of each response stand before the first that the reward model would not write; none where it writes
    /// nothing.
    pub agreed: Option<Vec<usize>>,
}

impl From<Vec<Vec<f32>>> for Reading {
    fn from(scores: Vec<Vec<f32>>) -> Self {
        Self { scores, agreed: None }
    }
}

/// The trained reward model in a folder, to score with.
///
/// # Errors
/// Those of [`read`].
pub fn load(dir: &Path, extraction: Extraction) -> Result<Box<dyn Reward>, StageError> {
    let (recipe, model, codec) = read(dir)?;
    Ok(of(recipe, model, codec, extraction))
}

/// The parts of the trained reward model in a folder.
///
/// # Errors
/// A folder without a recipe, or with a model of another kind than its recipe says.
pub fn read(dir: &Path) -> Result<(Recipe, Model, Codec), StageError> {
    let (recipe, model, codec) = (Recipe::load(dir)?, Model::load(dir)?, Codec::load(dir)?);
    if model.head() != recipe.objective.head() {
        let message = format!("the model in `{}` has another head than its recipe says", dir.display());
        return Err(StageError::new(message).hint("use a folder that stage kind `reward-model` has written"));
    }
    Ok((recipe, model, codec))
}

/// A reward model that was trained by `recipe`.
pub fn of(recipe: Recipe, model: Model, codec: Codec, extraction: Extraction) -> Box<dyn Reward> {
    match recipe.objective {
        Objective::Binary => Box::new(binary::Binary { model }),
        Objective::Dense => Box::new(dense::Dense { model }),
        Objective::Sequence => {
            Box::new(sequence::Sequence { model, codec, layout: recipe.layout, extraction })
        }
    }
}

/// A score at the last token of a response, 0 at the others.
pub fn terminal(score: f32, response: &[u32]) -> Vec<f32> {
    let mut scores = vec![0.0; response.len()];
    if let Some(last) = scores.last_mut() {
        *last = score;
    }
    scores
}

/// What each response earns in all.
pub fn totals(scores: &[Vec<f32>]) -> Vec<f32> {
    scores.iter().map(|s| s.iter().sum()).collect()
}
