//! Keys and values of the tokens seen so far, and attention of new tokens to them.
//!
//! Every token reads all of them, mostly from outside the processor's inner caches. So they lie in the order in which
//! they are read, panel after panel of neighbouring positions, all heads of one side by side.

use crate::config::Config;
use crate::ops::{Rope, Turn, kernels};

/// Positions of a panel, whose scores are computed side by side.
const PANEL: usize = 16;

/// The cache of one sequence. For each layer and panel: the keys of each key-value head as `[head_dim][PANEL]`, then
/// the values of each as `[PANEL][head_dim]`.
pub(super) struct Cache {
    values: Vec<f32>,
    panels: usize,
    heads: usize,
    key_value_heads: usize,
    dim: usize,
}

impl Cache {
    pub fn new(config: &Config, capacity: usize) -> Cache {
        Cache {
            values: vec![0.0; Cache::len(config, capacity)],
            panels: capacity.div_ceil(PANEL),
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
        let panel = 2 * config.num_key_value_heads * config.head_dim * PANEL;
        config.num_hidden_layers * capacity.div_ceil(PANEL) * panel
    }

    pub fn bytes(config: &Config, capacity: usize) -> usize {
        Cache::len(config, capacity) * size_of::<f32>()
    }

    /// Values of one head's keys in a panel, and of those of all heads.
    fn lens(&self) -> (usize, usize) {
        (self.dim * PANEL, self.key_value_heads * self.dim * PANEL)
    }

    /// Stores the keys and values of a row of `[queries | keys | values]` at a position.
    pub fn store(&mut self, rope: &Rope, layer: usize, position: usize, row: &[f32], scratch: &mut [f32]) {
        let (dim, (head_len, half)) = (self.dim, self.lens());
        let (keys, values) = row[self.heads * dim..].split_at(self.key_value_heads * dim);
        let (panel, at) = (position / PANEL, position % PANEL);
        let panel = &mut self.values[(layer * self.panels + panel) * 2 * half..][..2 * half];
        let (panel_keys, panel_values) = panel.split_at_mut(half);
        for (key, panel) in keys.chunks_exact(dim).zip(panel_keys.chunks_exact_mut(head_len)) {
            let turned = &mut scratch[..dim];
            rope.apply(Turn::To, position, key, turned, 1.0);
            for (panel, &key) in panel.chunks_exact_mut(PANEL).zip(&*turned) {
                panel[at] = key;
            }
        }
        for (value, panel) in values.chunks_exact(dim).zip(panel_values.chunks_exact_mut(head_len)) {
            panel[at * dim..][..dim].copy_from_slice(value);
        }
    }

    /// Writes what the queries of a row attend to, up to its position: `[heads * head_dim]`.
    pub fn attend(
        &self,
        rope: &Rope,
        layer: usize,
        position: usize,
        row: &[f32],
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        let (dim, capacity, seen) = (self.dim, self.panels * PANEL, position + 1);
        let scale = 1.0 / (dim as f32).sqrt();
        let sharing = self.heads / self.key_value_heads;
        let (head_len, half) = self.lens();
        let layer = &self.values[layer * self.panels * 2 * half..][..self.panels * 2 * half];
        let queries = &row[..self.heads * dim];
        let (turned, scores) = scratch.split_at_mut(self.heads * dim);
        for (query, turned) in queries.chunks_exact(dim).zip(turned.chunks_exact_mut(dim)) {
            rope.apply(Turn::To, position, query, turned, scale);
        }
        let panels =
            || layer.chunks_exact(2 * half).take(seen.div_ceil(PANEL)).map(|panel| panel.split_at(half));
        for (index, (keys, _)) in panels().enumerate() {
            for (head, query) in turned.chunks_exact(dim).enumerate() {
                let scores = &mut scores[head * capacity + index * PANEL..][..PANEL];
                scores.fill(0.0);
                kernels::add_weighted(query, &keys[head / sharing * head_len..][..head_len], scores);
            }
        }
        for head in 0..self.heads {
            kernels::softmax(&mut scores[head * capacity..][..seen]);
        }
        out.fill(0.0);
        for (index, (_, values)) in panels().enumerate() {
            let positions = PANEL.min(seen - index * PANEL);
            for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                let weights = &scores[head * capacity + index * PANEL..][..positions];
                kernels::add_weighted(weights, &values[head / sharing * head_len..][..positions * dim], out);
            }
        }
    }

    /// What [`Cache::store`] and [`Cache::attend`] need as scratch memory.
    pub fn scratch_len(&self) -> usize {
        self.heads * (self.dim + self.panels * PANEL)
    }
}
