//! The sequence reward model (arXiv 2409.00162): a language model that rewrites a response into the
//! preferred one, trained by sequence MLE on the same pairs.

use std::ops::Range;

use lm::{Batch, Model, TokenStats};

use super::{
    Reading, Reward,
    extraction::{Extraction, first_divergence},
    layout::Layout,
};
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
    pub fn stats(&self, episodes: &[Episode]) -> Result<Vec<Vec<TokenStats>>, StageError> {
        let mut batch = Batch::new();
        for e in episodes {
            push_response(&mut batch, &self.layout.context(&self.codec, &e.prompt, &e.response), &e.response);
        }
        let stats = self.model.token_stats(&batch)?;
        Ok(per_response(&stats, episodes.iter().map(|e| e.response.len())))
    }
}

impl Reward for Sequence {
    fn read(&self, episodes: &[Episode]) -> Result<Reading, StageError> {
        let stats = self.stats(episodes)?;
        let read = || stats.iter().zip(episodes);
        let scores = read().map(|(s, e)| self.extraction.scores(s, &e.response, e.ended));
        let agreed = read().map(|(s, e)| first_divergence(s, &e.response).unwrap_or(e.response.len()));
        Ok(Reading { scores: scores.collect(), agreed: Some(agreed.collect()) })
    }

    fn is_scalar(&self) -> bool {
        false
    }
}

/// What is read, what is to be written, and how much each token of that counts.
struct Mapping {
    context: Vec<u32>,
    target: Vec<u32>,
    weights: Vec<f32>,
}

/// How much the mappings count.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// Of `(x, rejected) -> chosen`.
    pub correction: f32,
    /// Of `(x, chosen) -> chosen`.
    pub identity: f32,
    /// Of a token that a correction changes, beside a token that it keeps.
    pub focus: f32,
}

/// Both mappings of every pair.
pub struct Rewriting {
    examples: Vec<Vec<Mapping>>,
}

impl Rewriting {
    /// A mapping of weight 0 is left out altogether.
    pub fn new(codec: &Codec, layout: Layout, pairs: &[Pair], weights: Weights) -> Result<Self, StageError> {
        let mappings = |p: &Pair| {
            let (prompt, target) = (codec.prompt(&p.prompt)?, codec.response(&p.chosen)?);
            let mapping = |from: &str, weight: f32| {
                let from = codec.response(from)?;
                let mut of_tokens = vec![weight; target.len()];
                of_tokens[changed(&from, &target)].iter_mut().for_each(|w| *w *= weights.focus);
                let context = layout.context(codec, &prompt, &from);
                Ok(Mapping { context, target: target.clone(), weights: of_tokens })
            };
            let all = [(&p.rejected, weights.correction), (&p.chosen, weights.identity)];
            let kept = all.into_iter().filter(|(_, weight)| *weight > 0.0);
            kept.map(|(from, weight)| mapping(from, weight)).collect()
        };
        Ok(Self { examples: pairs.iter().map(mappings).collect::<Result<_, StageError>>()? })
    }
}

/// The tokens of `target` between the beginning and the end that it shares with `from`.
fn changed(from: &[u32], target: &[u32]) -> Range<usize> {
    let shared = |(a, b): &(&u32, &u32)| a == b;
    let head = from.iter().zip(target).take_while(shared).count();
    let tail = from[head..].iter().rev().zip(target[head..].iter().rev()).take_while(shared).count();
    head..target.len() - tail
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
        let weights: Vec<f32> = mappings.flat_map(|m| m.weights.iter().copied()).collect();
        weighted_nll(log_probs, &weights)
    }
}

/// The weighted mean of `-log p` over rows, and its gradient.
pub fn weighted_nll(log_probs: &[f32], weights: &[f32]) -> Loss {
    let total: f32 = weights.iter().sum();
    let loss: f32 = log_probs.iter().zip(weights).map(|(l, w)| -l * w).sum();
    (loss / total, weights.iter().map(|w| -w / total).collect())
}
