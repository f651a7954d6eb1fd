//! Sequences on their way: their random numbers, and what was drawn so far.

use super::choice::{Chooser, Sampling};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What was generated after one prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampled {
    /// With the stop token, if it came.
    pub tokens: Vec<u32>,
    /// Of each token under the model itself: at temperature 1, nothing left out.
    pub log_probs: Vec<f32>,
    /// Whether the stop token came.
    pub stopped: bool,
}

/// Rows that a pass computes: tokens, and where each belongs.
#[derive(Default)]
pub(super) struct Rows {
    pub tokens: Vec<u32>,
    pub sequences: Vec<usize>,
    pub positions: Vec<usize>,
}

pub(super) struct Streams<'a> {
    sampling: &'a Sampling,
    prompts: &'a [Vec<u32>],
    chooser: Chooser<'a>,
    rngs: Vec<ChaCha8Rng>,
    pub done: Vec<Sampled>,
}

impl<'a> Streams<'a> {
    pub fn new(sampling: &'a Sampling, prompts: &'a [Vec<u32>], seeds: &[u64]) -> Self {
        Streams {
            sampling,
            prompts,
            chooser: Chooser::new(sampling),
            rngs: seeds.iter().map(|&seed| ChaCha8Rng::seed_from_u64(seed)).collect(),
            done: vec![Sampled::default(); prompts.len()],
        }
    }

    /// Draws a token for each active sequence from its row of logits. Gives the tokens of those that go on.
    pub fn draw(&mut self, active: &[usize], logits: &[f32], vocabulary: usize) -> Rows {
        let mut next = Rows::default();
        for (&sequence, logits) in active.iter().zip(logits.chunks_exact(vocabulary)) {
            let (token, log_prob) = self.chooser.choose(logits, &mut self.rngs[sequence]);
            let done = &mut self.done[sequence];
            done.tokens.push(token);
            done.log_probs.push(log_prob);
            done.stopped = self.sampling.stop == Some(token);
            if !done.stopped && done.tokens.len() < self.sampling.max_new_tokens {
                next.tokens.push(token);
                next.sequences.push(sequence);
                next.positions.push(self.prompts[sequence].len() + done.tokens.len() - 1);
            }
        }
        next
    }
}
