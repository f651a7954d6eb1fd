//! The usual reward model: a scalar at the end of a response.

use std::ops::Range;

use lm::Model;

use super::{Reading, Reward, bradley_terry::batch, terminal};
use crate::{contract::StageError, episode::Episode};

pub struct Binary {
    pub model: Model,
}

/// The scalar is read at the last token of the response.
pub fn rows(e: &Episode) -> Range<usize> {
    let end = e.prompt.len() + e.response.len();
    end - 1..end
}

impl Reward for Binary {
    fn read(&self, episodes: &[Episode]) -> Result<Reading, StageError> {
        let scores = self.model.scalars(&batch(episodes, rows))?;
        let scores = scores.into_iter().zip(episodes).map(|(s, e)| terminal(s, &e.response));
        Ok(scores.collect::<Vec<_>>().into())
    }

    fn is_scalar(&self) -> bool {
        true
    }
}
