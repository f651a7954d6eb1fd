//! A dense binary reward model: a scalar at each token of a response, trained by the Bradley-Terry likelihood of the
//! scalars' sums. The labels are those of the usual one; only credit may fall on single tokens.

use std::ops::Range;

use lm::Model;

use super::{Reading, Reward, bradley_terry::batch};
use crate::{contract::StageError, episode::Episode, text::per_response};

pub struct Dense {
    pub model: Model,
}

/// A token's scalar is read at the token itself: its state knows the token and all before it.
pub fn rows(e: &Episode) -> Range<usize> {
    e.prompt.len()..e.prompt.len() + e.response.len()
}

impl Reward for Dense {
    fn read(&self, episodes: &[Episode]) -> Result<Reading, StageError> {
        let scalars = self.model.scalars(&batch(episodes, rows))?;
        Ok(per_response(&scalars, episodes.iter().map(|e| e.response.len())).into())
    }

    fn is_scalar(&self) -> bool {
        false
    }
}
