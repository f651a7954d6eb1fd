//! Batched generation: prompts in one pass, then one token at a time for the sequences that go on.

use super::cache::Cache;
use super::choice::Sampling;
use super::streams::{Rows, Sampled, Streams};
use super::weights::Weights;
use crate::backend::{Backend, Engine};
use crate::batch::check_tokens;
use crate::config::Head;
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops::matmul::Old;
use crate::ops::view::view;
use crate::ops::{Fused, kernels};
use dfdx::prelude::{Cpu, HasShape};
use rayon::prelude::*;

/// The most sequences that go on side by side; more gain nothing.
const MOST: usize = 128;

/// With fewer sequences the products are too small to gain from a cache that holds everything.
const WORTH_WHILE: usize = 8;

/// Bytes of the processor's outermost cache that one thread may count on.
const PROCESSOR_CACHE: usize = 8 << 20;

impl<B: Backend> Model<B> {
    /// Continues each prompt. Every sequence draws from a stream of its own seed: what it gets depends on
    /// nothing else in the call. Equal prompts that follow each other are read once for as many as go on side by side.
    ///
    /// # Errors
    /// If the head is scalar, a prompt is empty, has a token beyond the vocabulary, or leaves too few positions
    /// for `max_new_tokens`, or if there is not one seed for each prompt; and if a device fails.
    pub fn sample(&self, prompts: &[Vec<u32>], sampling: &Sampling, seeds: &[u64]) -> Result<Vec<Sampled>> {
        self.need(Head::Lm, "sample")?;
        sampling.validate(self.config())?;
        if prompts.len() != seeds.len() {
            let (found, expected) = (format!("{} seeds", seeds.len()), format!("{} prompts", prompts.len()));
            return Err(Error::Sampling { field: "seeds", found, expected });
        }
        let most = self.config().max_position_embeddings;
        for (sequence, prompt) in prompts.iter().enumerate() {
            check_tokens(sequence, prompt, self.config())?;
            if sampling.max_new_tokens > most - prompt.len() {
                return Err(Error::Batch {
                    sequence,
                    found: format!("{} tokens and {} to generate", prompt.len(), sampling.max_new_tokens),
                    expected: format!("at most {most} together (max_position_embeddings)"),
                });
            }
        }
        if sampling.max_new_tokens == 0 || prompts.is_empty() {
            return Ok(vec![Sampled::default(); prompts.len()]);
        }
        B::Engine::guard(|| B::Engine::generate(&self.decoder, sampling, prompts, seeds))
    }
}

pub(crate) fn generate(
    decoder: &Decoder<Fused>,
    sampling: &Sampling,
    prompts: &[Vec<u32>],
    seeds: &[u64],
) -> Vec<Sampled> {
    let threads = rayon::current_num_threads();
    let weights = Weights::new(decoder);
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0) + sampling.max_new_tokens;
    let most = side_by_side(weights.bytes(), Cache::bytes(&decoder.config, longest));
    let part = prompts.len().div_ceil(threads).clamp(1, most);
    let run = |(prompts, seeds): (&[Vec<u32>], &[u64])| {
        Generation::new(decoder, &weights, sampling, prompts, seeds).run()
    };
    let parts: Vec<Vec<Sampled>> = match threads {
        1 => prompts.chunks(part).zip(seeds.chunks(part)).map(run).collect(),
        _ => prompts.par_chunks(part).zip(seeds.par_chunks(part)).map(run).collect(),
    };
    parts.into_iter().flatten().collect()
}

/// As many sequences as the processor's cache holds beside the weights, for every token reads all of both; where few
/// or none fit, as many as share one reading of the weights well. Numbers do not depend on it.
fn side_by_side(weights: usize, sequence: usize) -> usize {
    let fit = PROCESSOR_CACHE.saturating_sub(weights) / sequence;
    if fit < WORTH_WHILE { MOST } else { fit.min(MOST) }
}

/// Some prompts on their way, on one thread.
struct Generation<'a> {
    decoder: &'a Decoder<Fused>,
    weights: &'a Weights,
    prompts: &'a [Vec<u32>],
    streams: Streams<'a>,
    caches: Vec<Cache>,
}

impl<'a> Generation<'a> {
    fn new(
        decoder: &'a Decoder<Fused>,
        weights: &'a Weights,
        sampling: &'a Sampling,
        prompts: &'a [Vec<u32>],
        seeds: &[u64],
    ) -> Self {
        let capacity = |prompt: &Vec<u32>| prompt.len() + sampling.max_new_tokens;
        Generation {
            decoder,
            weights,
            prompts,
            streams: Streams::new(sampling, prompts, seeds),
            caches: prompts.iter().map(|p| Cache::new(&decoder.config, capacity(p))).collect(),
        }
    }

    fn run(mut self) -> Vec<Sampled> {
        let (mut active, mut logits) = self.read_prompts();
        loop {
            let next = self.streams.draw(&active, &logits, self.decoder.config.vocab_size);
            if next.tokens.is_empty() {
                return self.streams.done;
            }
            let all: Vec<usize> = (0..next.tokens.len()).collect();
            logits = self.pass(&next, &all);
            active = next.sequences;
        }
    }

    /// Fills the caches; gives all sequences and their first logits.
    fn read_prompts(&mut self) -> (Vec<usize>, Vec<f32>) {
        let mut rows = Rows::default();
        // For each sequence the row of `logits` that is about its first token.
        let (mut last_rows, mut row_of) = (vec![], vec![]);
        for (sequence, prompt) in self.prompts.iter().enumerate() {
            if sequence == 0 || *prompt != self.prompts[sequence - 1] {
                for (position, &token) in prompt.iter().enumerate() {
                    rows.tokens.push(token);
                    rows.sequences.push(sequence);
                    rows.positions.push(position);
                }
                last_rows.push(rows.tokens.len() - 1);
            }
            row_of.push(last_rows.len() - 1);
        }
        let first = self.pass(&rows, &last_rows);
        let vocabulary = self.decoder.config.vocab_size;
        let mut logits = Vec::with_capacity(self.prompts.len() * vocabulary);
        for (sequence, &row) in row_of.iter().enumerate() {
            logits.extend_from_slice(&first[row * vocabulary..][..vocabulary]);
            if sequence > 0 && row == row_of[sequence - 1] {
                self.caches[sequence] = self.caches[sequence - 1].clone();
            }
        }
        ((0..self.prompts.len()).collect(), logits)
    }

    /// Runs the decoder over rows (of a sequence in order of position) and gives logits for the `wanted` ones.
    fn pass(&mut self, rows: &Rows, wanted: &[usize]) -> Vec<f32> {
        let decoder = self.decoder;
        let config = &decoder.config;
        let (n, width, qkv_width) = (rows.tokens.len(), config.hidden_size, config.qkv_width());
        let (eps, inner) = (config.rms_norm_eps, config.intermediate_size);
        let (scale, gate) = (config.embedding_scale(), config.gate());
        let heads_width = config.num_attention_heads * config.head_dim;
        let zeros = |columns: usize| vec![0.0; n * columns];
        let (mut x, mut h) = (zeros(width), zeros(width));
        let (mut qkv, mut attended) = (zeros(qkv_width), zeros(heads_width));
        let (mut gate_up, mut gated) = (zeros(2 * inner), zeros(inner));
        let longest = self.caches.iter().map(Cache::scratch_len).max().unwrap_or(0);
        let mut scratch = vec![0.0; longest];
        for (x, &token) in x.chunks_exact_mut(width).zip(&rows.tokens) {
            let row = &view(decoder.embedding())[token as usize * width..][..width];
            x.iter_mut().zip(row).for_each(|(x, row)| *x = row * scale);
        }
        for (index, (layer, weights)) in decoder.layers().zip(&self.weights.layers).enumerate() {
            norm(&x, layer.attention_norm, eps, &mut h);
            weights.qkv.apply(&h, &mut qkv, Old::Overwrite);
            let out = attended.chunks_exact_mut(heads_width).zip(qkv.chunks_exact(qkv_width));
            for ((out, qkv), (&sequence, &position)) in out.zip(rows.sequences.iter().zip(&rows.positions)) {
                self.caches[sequence].attend(&decoder.rope, index, position, qkv, &mut scratch, out);
            }
            weights.output.apply(&attended, &mut x, Old::Add);
            norm(&x, layer.mlp_norm, eps, &mut h);
            weights.gate_up.apply(&h, &mut gate_up, Old::Overwrite);
            for (y, x) in gated.chunks_exact_mut(inner).zip(gate_up.chunks_exact(2 * inner)) {
                kernels::gated(gate, x, y);
            }
            weights.down.apply(&gated, &mut x, Old::Add);
        }
        let mut last = vec![0.0; wanted.len() * width];
        for (last, &row) in last.chunks_exact_mut(width).zip(wanted) {
            kernels::rms_norm(&x[row * width..][..width], view(decoder.norm()), eps, last);
        }
        let mut logits = vec![0.0; wanted.len() * config.vocab_size];
        self.weights.unembedding.apply(&last, &mut logits, Old::Overwrite);
        logits
    }
}

type Matrix = crate::ops::Matrix<Cpu>;

fn norm(x: &[f32], gain: &Matrix, eps: f32, y: &mut [f32]) {
    let (gain, width) = (view(gain), gain.shape().1);
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        kernels::rms_norm(x, gain, eps, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_side_by_side_as_the_cache_holds_or_as_share_the_weights_well() {
        let sequence = 1 << 16;
        let beside = |sequences: usize| side_by_side(PROCESSOR_CACHE - sequences * sequence, sequence);
        assert_eq!([7, 8, 18, 128].map(beside), [128, 8, 18, 128]);
        assert_eq!(side_by_side(2 * PROCESSOR_CACHE, sequence), 128);
        assert_eq!(side_by_side(0, 1), 128);
    }
}
