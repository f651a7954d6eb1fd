//! Sequences on their way: their random numbers, and what was drawn so far.

use super::choice::Chooser;
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

impl Rows {
    pub fn push(&mut self, token: u32, sequence: usize, position: usize) {
        self.tokens.push(token);
        self.sequences.push(sequence);
        self.positions.push(position);
    }
}

/// One sequence on its way.
pub(super) struct Stream {
    prompt: usize,
    rng: ChaCha8Rng,
    pub done: Sampled,
}

impl Stream {
    /// After a prompt of so many tokens.
    pub fn new(prompt: usize, seed: u64) -> Stream {
        Stream { prompt, rng: ChaCha8Rng::seed_from_u64(seed), done: Sampled::default() }
    }

    /// Draws a token; gives it and its position if the sequence goes on.
    pub fn draw(&mut self, chooser: &mut Chooser, logits: &[f32]) -> Option<(u32, usize)> {
        let (token, log_prob) = chooser.choose(logits, &mut self.rng);
        let (how, done) = (chooser.sampling, &mut self.done);
        done.tokens.push(token);
        done.log_probs.push(log_prob);
        done.stopped = how.stop == Some(token);
        let goes_on = !done.stopped && done.tokens.len() < how.max_new_tokens;
        goes_on.then_some((token, self.prompt + done.tokens.len() - 1))
    }
}
