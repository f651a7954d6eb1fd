//! Keys and values of the tokens seen so far, and attention of new tokens to them.
//!
//! Every token reads all of them, mostly from outside the processor's inner caches. So they lie in the order in which
//! they are read, page after page of neighbouring positions, all heads of one side by side.

use crate::config::Config;
use crate::ops::{DEPTH, add, kernels};

/// Positions of a page, whose scores are computed side by side.
const PAGE: usize = 16;

/// The cache of one sequence. For each layer and page: the keys of each key-value head as `[head_dim][PAGE]`, then
/// the values of each as `[PAGE][head_dim]`.
pub(super) struct Cache {
    values: Vec<f32>,
    pages: usize,
    heads: usize,
    key_value_heads: usize,
    dim: usize,
}

impl Cache {
    pub fn new(config: &Config, capacity: usize) -> Cache {
        Cache {
            values: vec![0.0; Cache::len(config, capacity)],
            pages: capacity.div_ceil(PAGE),
            heads: config.num_attention_heads,
            key_value_heads: config.num_key_value_heads,
            dim: config.head_dim,
        }
    }

    /// Takes over the keys and values of another cache of the same model and capacity.
    pub fn copy_from(&mut self, other: &Cache) {
        self.values.copy_from_slice(&other.values);
    }

    fn len(config: &Config, capacity: usize) -> usize {
        let page = 2 * config.num_key_value_heads * config.head_dim * PAGE;
        config.num_hidden_layers * capacity.div_ceil(PAGE) * page
    }

    pub fn bytes(config: &Config, capacity: usize) -> usize {
        Cache::len(config, capacity) * size_of::<f32>()
    }

    /// Values of one head's keys in a page, and of those of all heads.
    fn lens(&self) -> (usize, usize) {
        (self.dim * PAGE, self.key_value_heads * self.dim * PAGE)
    }

    /// Stores the keys and values of a row of `[queries | keys | values]`, which was turned to its position.
    pub fn store(&mut self, layer: usize, position: usize, row: &[f32]) {
        let (dim, (head_len, half)) = (self.dim, self.lens());
        let (keys, values) = row[self.heads * dim..].split_at(self.key_value_heads * dim);
        let (page, at) = (position / PAGE, position % PAGE);
        let page = &mut self.values[(layer * self.pages + page) * 2 * half..][..2 * half];
        let (page_keys, page_values) = page.split_at_mut(half);
        for (key, page) in keys.chunks_exact(dim).zip(page_keys.chunks_exact_mut(head_len)) {
            for (page, &key) in page.chunks_exact_mut(PAGE).zip(key) {
                page[at] = key;
            }
        }
        for (value, page) in values.chunks_exact(dim).zip(page_values.chunks_exact_mut(head_len)) {
            page[at * dim..][..dim].copy_from_slice(value);
        }
    }

    /// Writes what the queries of a row attend to, up to its position: `[heads * head_dim]`.
    pub fn attend(&self, layer: usize, position: usize, row: &[f32], scratch: &mut [f32], out: &mut [f32]) {
        let (dim, capacity, seen) = (self.dim, self.pages * PAGE, position + 1);
        let sharing = self.heads / self.key_value_heads;
        let (head_len, half) = self.lens();
        let layer = &self.values[layer * self.pages * 2 * half..][..self.pages * 2 * half];
        let queries = &row[..self.heads * dim];
        let (sums, scores) = scratch.split_at_mut(self.heads * dim);
        // Sums are cut where those of products are, as training does it.
        for (index, keys) in layer.chunks_exact(2 * half).take(seen.div_ceil(PAGE)).enumerate() {
            for (head, query) in queries.chunks_exact(dim).enumerate() {
                let scores = &mut scores[head * capacity + index * PAGE..][..PAGE];
                let keys = &keys[head / sharing * head_len..][..head_len];
                for (part, (query, keys)) in query.chunks(DEPTH).zip(keys.chunks(DEPTH * PAGE)).enumerate() {
                    let mut sums = [0.0; PAGE];
                    kernels::add_weighted(query, keys, &mut sums);
                    if part == 0 {
                        scores.copy_from_slice(&sums);
                    } else {
                        add(scores, &sums);
                    }
                }
            }
        }
        for head in 0..self.heads {
            kernels::softmax(&mut scores[head * capacity..][..seen]);
        }
        for first in (0..seen).step_by(DEPTH) {
            sums.fill(0.0);
            for start in (first..seen.min(first + DEPTH)).step_by(PAGE) {
                let positions = PAGE.min(seen - start);
                let values = &layer[start / PAGE * 2 * half + half..][..half];
                for (head, sums) in sums.chunks_exact_mut(dim).enumerate() {
                    let weights = &scores[head * capacity + start..][..positions];
                    let values = &values[head / sharing * head_len..][..positions * dim];
                    kernels::add_weighted(weights, values, sums);
                }
            }
            if first == 0 {
                out.copy_from_slice(sums);
            } else {
                add(out, sums);
            }
        }
    }

    /// What [`Cache::attend`] needs as scratch memory.
    pub fn scratch_len(&self) -> usize {
        self.heads * (self.dim + self.pages * PAGE)
    }
}
