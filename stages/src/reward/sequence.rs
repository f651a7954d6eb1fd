//! The sequence reward model (arXiv 2409.00162): a language model that rewrites a response into the
//! preferred one, trained by sequence MLE on the same pairs.

use lm::{Batch, Model, TokenStats};

use super::{Reward, extraction::Extraction, layout::Layout};
use crate::{
    contract::StageError,
    dataset::Pair,
    episode::Episode,
    text::{Codec, per_response, push_response},
    training::{Loss, Task},
};

pub struct Sequence {
    pub model: Model,
    pub codec: Codec,
    pub layout: Layout,
    pub extraction: Extraction,
}

impl Sequence {
    /// What the model says of each token of each response when it is asked to rewrite that response and is
    /// fed the response itself: one teacher-forced pass.
    pub fn read(&self, episodes: &[Episode]) -> Result<Vec<Vec<TokenStats>>, StageError> {
        let mut batch = Batch::new();
        for e in episodes {
            push_response(&mut batch, &self.layout.context(&self.codec, &e.prompt, &e.response), &e.response);
        }
        let stats = self.model.token_stats(&batch)?;
        Ok(per_response(&stats, episodes.iter().map(|e| e.response.len())))
    }
}

impl Reward for Sequence {
    fn scores(&self, episodes: &[Episode]) -> Result<Vec<Vec<f32>>, StageError> {
        let stats = self.read(episodes)?;
        let scores = |(s, e): (&Vec<_>, &Episode)| self.extraction.scores(s, &e.response, e.ended);
        Ok(stats.iter().zip(episodes).map(scores).collect())
    }

    fn is_scalar(&self) -> bool {
        false
    }
}

/// What is read, what is to be written, and how much that counts.
struct Mapping {
    context: Vec<u32>,
    target: Vec<u32>,
    weight: f32,
}

/// Both mappings of every pair: correction `(x, rejected) -> chosen` and identity `(x, chosen) -> chosen`.
pub struct Rewriting {
    /// Context and target of each mapping, with its weight.
    examples: Vec<Vec<Mapping>>,
}

impl Rewriting {
    /// A mapping of weight 0 is left out altogether.
    pub fn new(
        codec: &Codec,
        layout: Layout,
        pairs: &[Pair],
        correction: f32,
        identity: f32,
    ) -> Result<Self, StageError> {
        let mappings = |p: &Pair| {
            let (prompt, target) = (codec.prompt(&p.prompt)?, codec.response(&p.chosen)?);
            let mapping = |from: &str, weight: f32| {
                let context = layout.context(codec, &prompt, &codec.response(from)?);
                Ok(Mapping { context, target: target.clone(), weight })
            };
            let kept =
                [(&p.rejected, correction), (&p.chosen, identity)].into_iter().filter(|(_, w)| *w > 0.0);
            kept.map(|(from, weight)| mapping(from, weight)).collect()
        };
        Ok(Self { examples: pairs.iter().map(mappings).collect::<Result<_, StageError>>()? })
    }
}

impl Task for Rewriting {
    fn examples(&self) -> usize {
        self.examples.len()
    }

    fn batch(&self, examples: &[usize]) -> Batch {
        let mut batch = Batch::new();
        for m in examples.iter().flat_map(|&i| &self.examples[i]) {
            push_response(&mut batch, &m.context, &m.target);
        }
        batch
    }

    fn loss(&self, examples: &[usize], log_probs: &[f32]) -> Loss {
        let mappings = examples.iter().flat_map(|&i| &self.examples[i]);
        let weights: Vec<f32> = mappings.flat_map(|m| vec![m.weight; m.target.len()]).collect();
        weighted_nll(log_probs, &weights)
    }
}

/// The weighted mean of `-log p` over rows, and its gradient.
pub fn weighted_nll(log_probs: &[f32], weights: &[f32]) -> Loss {
    let total: f32 = weights.iter().sum();
    let loss: f32 = log_probs.iter().zip(weights).map(|(l, w)| -l * w).sum();
    (loss / total, weights.iter().map(|w| -w / total).collect())
}
