//! Models and batches to measure with.
#![allow(dead_code, reason = "each example is a crate of its own and uses some of this")]

use lm::{Batch, Config, Family};

pub struct Shape {
    pub name: &'static str,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub vocabulary: usize,
    pub length: usize,
    pub sequences: usize,
}

pub const S: Shape =
    Shape { name: "S", width: 128, layers: 4, heads: 4, vocabulary: 512, length: 64, sequences: 32 };

impl Shape {
    pub fn config(&self) -> Config {
        Config {
            family: Family::Llama,
            vocab_size: self.vocabulary,
            hidden_size: self.width,
            // Llama's ratio, in whole vectors.
            intermediate_size: (self.width * 8 / 3).next_multiple_of(16),
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.heads,
            head_dim: self.width / self.heads,
            rope_theta: 10_000.0,
            rope_scaling: None,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: true,
            max_position_embeddings: self.length,
        }
    }

    pub fn tokens(&self) -> Vec<Vec<u32>> {
        tokens(self.sequences, self.length, self.vocabulary)
    }
}

/// Token ids that look like nothing in particular, the same in every run.
pub fn tokens(sequences: usize, length: usize, vocabulary: usize) -> Vec<Vec<u32>> {
    let id = |i: usize| ((i * 7919 + i * i * 104_729) % vocabulary) as u32;
    (0..sequences).map(|s| (s * length..(s + 1) * length).map(id).collect()).collect()
}

/// Sequences whose every token is predicted.
pub fn batch(tokens: &[Vec<u32>]) -> Batch {
    let mut batch = Batch::new();
    tokens.iter().for_each(|t| batch.push(t, 0..t.len() - 1));
    batch
}

pub fn cross_entropy(log_probs: &[f32]) -> (f32, Vec<f32>) {
    let n = log_probs.len() as f32;
    (-log_probs.iter().sum::<f32>() / n, vec![-1.0 / n; log_probs.len()])
}
