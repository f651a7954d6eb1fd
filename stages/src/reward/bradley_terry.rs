//! The Bradley-Terry likelihood of preferences: what scalar reward models are trained by (binary MLE).

use std::ops::Range;

use lm::Batch;

use super::totals;
use crate::{
    contract::StageError,
    dataset::Pair,
    episode::Episode,
    text::{Codec, per_response},
    training::{Loss, Task},
};

/// At which of an episode's tokens, of the prompt and the response together, a scalar is read. A response's score is
/// their sum.
pub type Rows = fn(&Episode) -> Range<usize>;

/// Pairs of chosen and rejected responses.
pub struct BradleyTerry {
    pairs: Vec<[Episode; 2]>,
    rows: Rows,
}

impl BradleyTerry {
    pub fn new(codec: &Codec, pairs: &[Pair], rows: Rows) -> Result<Self, StageError> {
        Ok(Self { pairs: Episode::pairs(codec, pairs)?, rows })
    }
}

/// The episodes, to read scalars of.
pub fn batch<'a>(episodes: impl IntoIterator<Item = &'a Episode>, rows: Rows) -> Batch {
    let mut batch = Batch::new();
    for e in episodes {
        batch.push(&[e.prompt.as_slice(), &e.response].concat(), rows(e));
    }
    batch
}

impl Task for BradleyTerry {
    fn examples(&self) -> usize {
        self.pairs.len()
    }

    fn batch(&self, examples: &[usize]) -> Batch {
        batch(examples.iter().flat_map(|&i| &self.pairs[i]), self.rows)
    }

    fn loss(&self, examples: &[usize], scalars: &[f32]) -> Loss {
        let terms = || examples.iter().flat_map(|&i| &self.pairs[i]).map(|e| (self.rows)(e).len());
        let (loss, slopes) = bradley_terry(&totals(&per_response(scalars, terms())));
        (loss, spread(&slopes, terms()))
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

/// The slope of a sum is the slope of each of its terms: those of sums with so many terms each.
pub fn spread(slopes: &[f32], terms: impl Iterator<Item = usize>) -> Vec<f32> {
    slopes.iter().zip(terms).flat_map(|(slope, n)| std::iter::repeat_n(*slope, n)).collect()
}
