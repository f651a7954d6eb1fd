//! Rewards: what PPO is told about a response, token by token.

pub mod binary;
pub mod extraction;
pub mod sequence;

use std::path::Path;

use lm::{Head, Model};

use crate::{contract::StageError, episode::Episode, text::Codec};
use extraction::Extraction;

/// Scores responses.
pub trait Reward {
    /// One score for each token of each response.
    fn scores(&self, episodes: &[Episode]) -> Result<Vec<Vec<f32>>, StageError>;

    /// Whether the reward is one number at the last token, known only up to a constant: then PPO takes the
    /// mean over the reference policy's responses away.
    fn is_scalar(&self) -> bool;
}

/// A trained reward model, as an artifact of type `reward` holds it: its head tells its objective.
pub fn load(dir: &Path, extraction: Extraction) -> Result<Box<dyn Reward>, StageError> {
    let (model, codec) = (Model::load(dir)?, Codec::load(dir)?);
    Ok(match model.head() {
        Head::Scalar => Box::new(binary::Binary { model }),
        Head::Lm => Box::new(sequence::Sequence { model, codec, extraction }),
    })
}

/// A score at the last token of a response, 0 at the others.
pub fn terminal(score: f32, response: &[u32]) -> Vec<f32> {
    let mut scores = vec![0.0; response.len()];
    if let Some(last) = scores.last_mut() {
        *last = score;
    }
    scores
}
