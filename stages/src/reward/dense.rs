//! A dense binary reward model: a scalar at each token of a response, trained by the Bradley-Terry likelihood of the
//! scalars' sums. The labels are those of the usual one; only credit may fall on single tokens.

use lm::{Batch, Model};

use super::{Reward, binary::bradley_terry, totals};
use crate::{
    contract::StageError,
    dataset::Pair,
    episode::Episode,
    text::{Codec, per_response},
    training::{Loss, Task},
};

pub struct Dense {
    pub model: Model,
}

impl Reward for Dense {
    fn scores(&self, episodes: &[Episode]) -> Result<Vec<Vec<f32>>, StageError> {
        let mut batch = Batch::new();
        episodes.iter().for_each(|e| push(&mut batch, e));
        Ok(per_response(&self.model.scalars(&batch)?, episodes.iter().map(|e| e.response.len())))
    }

    fn is_scalar(&self) -> bool {
        false
    }
}

/// A token's scalar is read at the token itself: its state knows the token and all before it.
fn push(batch: &mut Batch, e: &Episode) {
    let tokens = [e.prompt.as_slice(), &e.response].concat();
    batch.push(&tokens, e.prompt.len()..tokens.len());
}

/// Pairs of chosen and rejected responses.
pub struct SumBradleyTerry {
    pairs: Vec<[Episode; 2]>,
}

impl SumBradleyTerry {
    pub fn new(codec: &Codec, pairs: &[Pair]) -> Result<Self, StageError> {
        Ok(Self { pairs: Episode::pairs(codec, pairs)? })
    }
}

impl Task for SumBradleyTerry {
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

    /// The slope of a sum is the slope of each of its terms.
    fn loss(&self, examples: &[usize], scores: &[f32]) -> Loss {
        let lengths = || examples.iter().flat_map(|&i| &self.pairs[i]).map(|e| e.response.len());
        let (loss, slopes) = bradley_terry(&totals(&per_response(scores, lengths())));
        (loss, slopes.into_iter().zip(lengths()).flat_map(|(slope, n)| vec![slope; n]).collect())
    }
}
