//! The usual reward model: a scalar at the end of a response, trained by the Bradley-Terry likelihood of the
//! preferences (binary MLE).

use lm::{Batch, Model};

use super::{Reward, terminal};
use crate::{
    contract::StageError,
    dataset::Pair,
    episode::Episode,
    text::Codec,
    training::{Loss, Task},
};

pub struct Binary {
    pub model: Model,
}

impl Binary {
    /// The scalar of each response.
    pub fn score(model: &Model, episodes: &[Episode]) -> Result<Vec<f32>, StageError> {
        let mut batch = Batch::new();
        for e in episodes {
            push(&mut batch, e);
        }
        Ok(model.scalars(&batch)?)
    }
}

impl Reward for Binary {
    fn scores(&self, episodes: &[Episode]) -> Result<Vec<Vec<f32>>, StageError> {
        let scores = Self::score(&self.model, episodes)?;
        Ok(scores.into_iter().zip(episodes).map(|(s, e)| terminal(s, &e.response)).collect())
    }

    fn is_scalar(&self) -> bool {
        true
    }
}

/// The scalar is read at the last token of the response.
fn push(batch: &mut Batch, e: &Episode) {
    let tokens = [e.prompt.as_slice(), &e.response].concat();
    batch.push(&tokens, tokens.len() - 1..tokens.len());
}

/// Pairs of chosen and rejected responses, in the order of the rows.
pub struct BradleyTerry {
    pairs: Vec<[Episode; 2]>,
}

impl BradleyTerry {
    pub fn new(codec: &Codec, pairs: &[Pair]) -> Result<Self, StageError> {
        Ok(Self { pairs: Episode::pairs(codec, pairs)? })
    }
}

impl Task for BradleyTerry {
    fn examples(&self) -> usize {
        self.pairs.len()
    }

    fn batch(&self, examples: &[usize]) -> Batch {
        let mut batch = Batch::new();
        for &i in examples {
            self.pairs[i].iter().for_each(|e| push(&mut batch, e));
        }
        batch
    }

    fn loss(&self, _: &[usize], scores: &[f32]) -> Loss {
        bradley_terry(scores)
    }
}

/// The mean of `-log sigmoid(chosen - rejected)` over pairs of scores, and its gradient.
pub fn bradley_terry(scores: &[f32]) -> Loss {
    let n = (scores.len() / 2) as f32;
    let mut gradient = Vec::with_capacity(scores.len());
    let mut loss = 0.0;
    for pair in scores.chunks_exact(2) {
        let margin = pair[0] - pair[1];
        // log(1 + exp(-margin)), without overflow on either side
        loss += (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
        let slope = -1.0 / (1.0 + margin.exp()) / n;
        gradient.extend([slope, -slope]);
    }
    (loss / n, gradient)
}
