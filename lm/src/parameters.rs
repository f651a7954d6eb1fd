//! The parameters of a decoder: their order, shapes, first values, and names in a file.

use crate::config::{Config, Head};

/// One parameter, a `[rows, columns]` matrix.
///
/// Queries, keys and values are one matrix here, and so are gate and up: fewer and larger products. On disk
/// they are apart, as Hugging Face has them.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub rows: usize,
    pub columns: usize,
    pub init: Init,
    /// Names on disk and the rows that each takes, in order.
    pub parts: Vec<(String, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Init {
    /// Normal with this standard deviation.
    Normal(f32),
    /// The gain of a norm: one.
    One,
    /// A new scalar head: zero, so that it says nothing until it is trained.
    Zero,
    /// As `Zero`, for the bias.
    Bias,
}

impl Slot {
    fn new(name: impl Into<String>, rows: usize, columns: usize, init: Init) -> Slot {
        Slot { rows, columns, init, parts: vec![(name.into(), rows)] }
    }

    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Weight decay pulls matrices, not gains and biases.
    pub fn decays(&self) -> bool {
        matches!(self.init, Init::Normal(_) | Init::Zero)
    }

    /// The shape on disk of a part with this many rows.
    pub fn shape_on_disk(&self, rows: usize) -> Vec<usize> {
        match self.init {
            Init::One | Init::Bias => vec![rows * self.columns],
            Init::Normal(_) | Init::Zero => vec![rows, self.columns],
        }
    }

    /// The name in messages and checkpoints.
    pub fn name(&self) -> &str {
        &self.parts[0].0
    }
}

/// Parameters of one layer.
pub(crate) const PER_LAYER: usize = 6;

/// All parameters: the embedding, [`PER_LAYER`] for each layer, the last norm, and what the head has.
pub(crate) fn slots(config: &Config, head: Head) -> Vec<Slot> {
    let c = config;
    let (width, inner) = (c.hidden_size, c.intermediate_size);
    let (queries, keys) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
    // GPT-2's 0.02 at a width of 768, and what it means at other widths; projections into the residual stream
    // start smaller, so that its variance does not grow with depth (Radford et al., 2019).
    let std = 0.02 * (768.0 / width as f32).sqrt();
    let normal = Init::Normal(std);
    let residual = Init::Normal(std / (2.0 * c.num_hidden_layers as f32).sqrt());
    let mut slots = vec![Slot::new("model.embed_tokens.weight", c.vocab_size, width, normal)];
    for layer in 0..c.num_hidden_layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        slots.push(Slot::new(name("input_layernorm"), 1, width, Init::One));
        slots.push(Slot {
            rows: queries + 2 * keys,
            columns: width,
            init: normal,
            parts: vec![
                (name("self_attn.q_proj"), queries),
                (name("self_attn.k_proj"), keys),
                (name("self_attn.v_proj"), keys),
            ],
        });
        slots.push(Slot::new(name("self_attn.o_proj"), width, queries, residual));
        slots.push(Slot::new(name("post_attention_layernorm"), 1, width, Init::One));
        slots.push(Slot {
            rows: 2 * inner,
            columns: width,
            init: normal,
            parts: vec![(name("mlp.gate_proj"), inner), (name("mlp.up_proj"), inner)],
        });
        slots.push(Slot::new(name("mlp.down_proj"), width, inner, residual));
    }
    slots.push(Slot::new("model.norm.weight", 1, width, Init::One));
    match head {
        Head::Lm if c.tie_word_embeddings => {}
        Head::Lm => slots.push(Slot::new("lm_head.weight", c.vocab_size, width, normal)),
        Head::Scalar => {
            slots.push(Slot::new("score.weight", 1, width, Init::Zero));
            slots.push(Slot::new("score.bias", 1, 1, Init::Bias));
        }
    }
    slots
}

/// Number of parameters that do not belong to the head; they come first.
pub(crate) fn body_len(config: &Config) -> usize {
    2 + PER_LAYER * config.num_hidden_layers
}
