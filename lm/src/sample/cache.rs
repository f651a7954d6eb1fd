//! Keys and values of the tokens seen so far, and attention of new tokens to them.

use crate::config::Config;
use crate::ops::{Rope, Turn, kernels};

/// The cache of one sequence. For each layer and key-value head: keys as `[head_dim][capacity]`, so that scores
/// of neighbouring positions are computed side by side, then values as `[capacity][head_dim]`.
pub(super) struct Cache {
    values: Vec<f32>,
    capacity: usize,
    heads: usize,
    key_value_heads: usize,
    dim: usize,
}

/// Rows of keys start at whole vectors.
fn round(capacity: usize) -> usize {
    capacity.next_multiple_of(16)
}

impl Cache {
    pub fn new(config: &Config, capacity: usize) -> Cache {
        let values = vec![0.0; Cache::len(config, capacity)];
        let (key_value_heads, dim) = (config.num_key_value_heads, config.head_dim);
        let capacity = round(capacity);
        Cache { values, capacity, heads: config.num_attention_heads, key_value_heads, dim }
    }

    /// Takes over the keys and values of another cache of the same model and capacity.
    pub fn copy_from(&mut self, other: &Cache) {
        self.values.copy_from_slice(&other.values);
    }

    fn len(config: &Config, capacity: usize) -> usize {
        config.num_hidden_layers * config.num_key_value_heads * 2 * config.head_dim * round(capacity)
    }

    pub fn bytes(config: &Config, capacity: usize) -> usize {
        Cache::len(config, capacity) * size_of::<f32>()
    }

    /// Stores the keys and values of a row of `[queries | keys | values]` at a position, and writes what its
    /// queries attend to: `[heads * head_dim]`.
    pub fn attend(
        &mut self,
        rope: &Rope,
        layer: usize,
        position: usize,
        row: &[f32],
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        let (dim, capacity) = (self.dim, self.capacity);
        let scale = 1.0 / (dim as f32).sqrt();
        let (scores, turned) = scratch.split_at_mut(capacity);
        let turned = &mut turned[..dim];
        let sharing = self.heads / self.key_value_heads;
        let block = 2 * dim * capacity;
        let first = layer * self.key_value_heads * block;
        for (group, block) in
            self.values[first..][..self.key_value_heads * block].chunks_exact_mut(block).enumerate()
        {
            let (keys, values) = block.split_at_mut(dim * capacity);
            let key = &row[(self.heads + group) * dim..][..dim];
            rope.apply(Turn::To, position, key, turned, 1.0);
            for (keys, &key) in keys.chunks_exact_mut(capacity).zip(&*turned) {
                keys[position] = key;
            }
            let value = &row[(self.heads + self.key_value_heads + group) * dim..][..dim];
            values[position * dim..][..dim].copy_from_slice(value);
            for head in group * sharing..(group + 1) * sharing {
                rope.apply(Turn::To, position, &row[head * dim..][..dim], turned, scale);
                // Whole vectors of scores, and then only those of positions that were seen.
                let seen = position + 1;
                kernels::weighted_sum(turned, keys, capacity, &mut scores[..seen.next_multiple_of(16)]);
                let scores = &mut scores[..seen];
                kernels::softmax(scores);
                kernels::weighted_sum(scores, values, dim, &mut out[head * dim..][..dim]);
            }
        }
    }

    /// What [`Cache::attend`] needs as scratch memory.
    pub fn scratch_len(&self) -> usize {
        self.capacity + self.dim
    }
}
